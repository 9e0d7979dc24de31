// Publishing with a key, with counts, and in batches.

#include "check.hpp"
#include "qyun.hpp"

#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using check::patience;

namespace {

qyun::server running() {
  auto server = qyun::server::start({{"listen", "127.0.0.1:0"}, {"shards", 2}});
  server.create_channel("test");
  return server;
}

}  // namespace

TEST(a_repeat_is_told_where_the_first_one_is) {
  const auto server = running();
  qyun::publish_options once;
  once.key = std::string_view("a\0b", 3);
  const auto first = server.publish_with("test", "x", once);
  CHECK(first.at.offset == 1 && !first.duplicate && !first.counts);
  const auto again = server.publish_with("test", "x", once);
  CHECK(again.at.offset == 1 && again.at.epoch == first.at.epoch && again.duplicate);
  const auto other = server.try_publish_with("test", "y", once);
  CHECK(other.code() == QY_ERR_CONFLICT && other.text().find("test") != std::string::npos);
  once.key = "";
  CHECK(server.try_publish_with("test", "x", once).code() == QY_ERR_INVALID_ARGUMENT);
  qyun::publish_options latest;
  latest.conflate = std::string_view("a\0b", 3);
  CHECK(server.try_publish_with("test", "x", latest).code() == QY_ERR_INVALID_ARGUMENT);
  CHECK(server.channel("test").last.offset == 1);
}

TEST(counts_say_whom_a_message_reached) {
  const auto server = running();
  const auto client = qyun::client::open(server.address());
  const auto pulled = client.subscribe("test");
  qyun::publish_options counted;
  counted.counts = true;
  const auto told = server.publish_with("test", "x", counted, qyun::message_kind::binary);
  CHECK(told.subscribers == 1 && told.counts && told.counts->reached == 1);
  CHECK(told.counts->queued == 0 && told.counts->dropped == 0);
  const auto message = pulled.recv(patience);
  CHECK(message && message->data == "x" && message->kind == qyun::message_kind::binary);
}

TEST(a_batch_tells_of_each_message) {
  const auto server = running();
  const std::string far("none\0such", 9);
  std::vector<qyun::publish_item> items{{"test", "1"}, {far, "2"}, {"none", "3"}, {"test", "4"}};
  items[3].options.counts = true;
  const auto results = server.publish_batch(items);
  CHECK(results.size() == 4);
  CHECK(results[0].ok() && results[0]->at.offset == 1 && !results[0]->counts);
  CHECK(results[1].code() == QY_ERR_INVALID_NAME && !results[1].text().empty());
  CHECK(results[2].code() == QY_ERR_CHANNEL_NOT_FOUND);
  CHECK(results[2].text().find("'none'") != std::string::npos);
  CHECK(results[3].ok() && results[3]->at.offset == 2 && results[3]->counts->reached == 0);
  CHECK(server.publish_batch({}).empty());
  server.stop(0ms);
  CHECK(server.try_publish_batch(items).code() == QY_ERR_CLOSED);
}

TEST(repeats_from_many_threads_are_one_publication) {
  const auto server = running();
  std::vector<std::thread> threads;
  std::vector<int> firsts(10);
  for (int& first : firsts) {
    threads.emplace_back([&server, &first] {
      qyun::publish_options once;
      once.key = "order-7";
      for (int i = 0; i < 100; i++) first += !server.publish_with("test", "x", once).duplicate;
    });
  }
  int all = 0;
  for (auto& thread : threads) thread.join();
  for (const int first : firsts) all += first;
  CHECK(all == 1 && server.channel("test").last.offset == 1);
}

TEST(over_the_network_it_is_the_same) {
  const auto server = running();
  const auto client = qyun::client::open(server.address());
  qyun::publish_options once;
  once.key = std::string_view("a\0b", 3);
  const auto first = client.publish_with("test", "x", once, qyun::message_kind::binary);
  CHECK(first.at.offset == 1 && !first.duplicate && !first.counts && first.subscribers == 0);
  CHECK(client.publish_with("test", "x", once, qyun::message_kind::binary).duplicate);
  const auto again = qyun::send_message_with(server.address(), "test", "x", once,
                                             qyun::message_kind::binary);
  CHECK(again.duplicate && again.at.epoch == first.at.epoch);
  const auto other = client.try_publish_with("test", "y", once);
  CHECK(other.code() == QY_ERR_CONFLICT);
  CHECK(qyun::try_send_message_with(server.address(), "test", "y", once).code() == QY_ERR_CONFLICT);
  CHECK(qyun::try_send_message_with("a b", "test", "y", once).code() == QY_ERR_INVALID_URL);

  std::vector<qyun::publish_item> items{{"test", "1"}, {"none", "2"}, {"test", "3"}};
  items[2].options.counts = true;
  std::uint64_t last = 1;
  for (const auto& results :
       {client.publish_batch(items), qyun::send_batch(server.address(), items)}) {
    CHECK(results.size() == 3 && results[0]->at.offset == ++last && results[2]->at.offset == ++last);
    CHECK(!results[0]->counts && results[2]->counts->dropped == 0);
    CHECK(results[1].code() == QY_ERR_CHANNEL_NOT_FOUND);
    CHECK(results[1].text().find(server.address()) != std::string::npos);
  }
  CHECK(client.publish_batch({}).empty());
  CHECK(qyun::try_send_batch("a b", items).code() == QY_ERR_INVALID_URL);
}

TEST(a_channel_has_the_options_that_it_is_created_with) {
  const auto server = qyun::server::start({{"listen", "127.0.0.1:0"}, {"admin_token", "secret"}});
  const auto client = qyun::client::open(server.address());
  server.create_channel_with("near", {{"history_size", 1}});
  client.create_channel_with("far", {{"history_size", 1}}, "secret");
  for (const char* name : {"near", "far"}) {
    server.publish(name, "a");
    server.publish(name, "b");
    CHECK(server.history(name).size() == 1);
  }
  CHECK(server.try_create_channel_with("near", {{"history_size", 1}}).code() == QY_ERR_CHANNEL_EXISTS);
  CHECK(client.try_create_channel_with("x", {{"history_size", 1}}, "guess").code() == QY_ERR_REFUSED);
  CHECK(server.try_create_channel_with("x", {{"listen", "y"}}).code() == QY_ERR_UNKNOWN_OPTION);
  const auto other = qyun::options::make(qyun::options_for::client);
  CHECK(server.try_create_channel_with("x", other).code() == QY_ERR_INVALID_ARGUMENT);
  CHECK(server.channels().size() == 2);
}

int main() { return check::run_all(); }
