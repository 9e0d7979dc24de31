// Servers, clients, subscriptions: values that move and clean up.

#include "check.hpp"
#include "qyun.hpp"

#include <poll.h>

#include <algorithm>
#include <iterator>
#include <thread>
#include <type_traits>

using namespace std::chrono_literals;
using check::patience;

namespace {

template <class T>
constexpr bool move_only =
    std::is_nothrow_move_constructible_v<T> && std::is_move_assignable_v<T> &&
    !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
static_assert(move_only<qyun::server> && move_only<qyun::client> && move_only<qyun::options>);
static_assert(move_only<qyun::subscription> && move_only<qyun::batch>);
static_assert(!std::is_default_constructible_v<qyun::server>);
static_assert(noexcept(std::declval<const qyun::client&>().try_publish("", "")));
static_assert(noexcept(qyun::server::try_start()));

qyun::server start() {
  auto server = qyun::server::start({{"listen", "127.0.0.1:0"}, {"shards", 1}});
  server.create_channel("test");
  return server;
}

}  // namespace

TEST(the_loaded_library_is_the_headers) {
  qyun::abi_check();
  CHECK(qyun::version() == QY_VERSION);
}

TEST(a_server_says_where_it_listens) {
  const auto server = start();
  CHECK(server.port() != 0 && server.grpc_port() == 0);
  const auto local = "127.0.0.1:0";
  const auto with_grpc = qyun::server::try_start({{"listen", local}, {"grpc_listen", local}});
  CHECK(with_grpc && with_grpc->grpc_port() != 0 && with_grpc->grpc_port() != with_grpc->port());
  CHECK(server.address() == "127.0.0.1:" + std::to_string(server.port()));
}

TEST(a_moved_handle_is_the_same_object) {
  auto first = start();
  const auto port = first.port();
  auto second = std::move(first);
  CHECK(second.port() == port);
  CHECK(first.port() == 0 && first.address().empty());
  CHECK(first.try_create_channel("x").code() == QY_ERR_INVALID_ARGUMENT);

  auto third = start();
  third = std::move(second);  // stops what it was
  CHECK(third.port() == port);
  third.create_channel("x");
}

TEST(destruction_gives_the_address_back) {
  std::string address;
  {
    const auto server = start();
    address = server.address();
    CHECK(qyun::server::try_start({{"listen", address}}).code() == QY_ERR_ADDRESS_IN_USE);
  }
  CHECK(qyun::server::start({{"listen", address}}).address() == address);
}

TEST(channels_are_listed_with_what_is_known_of_them) {
  const auto server = start();
  server.create_channel("青云/?#%");
  const auto at = server.publish("test", "x");
  const auto all = server.channels();
  CHECK(all.size() == 2);
  const auto found = std::find_if(all.begin(), all.end(), [](auto& c) { return c.name == "test"; });
  CHECK(found != all.end());
  CHECK(found->last.offset == at.offset && found->last.epoch == at.epoch);
  CHECK(server.channel("test").name == "test");
  CHECK(server.channel("test").created > 0ms);
  server.delete_channel("青云/?#%");
  CHECK(server.channels().size() == 1);
}

TEST(recv_gives_messages_of_ones_own) {
  const auto server = start();
  const auto client = qyun::client::open(server.address());
  const auto test = client.subscribe("test");
  const std::string data("a\0b\n/?#% 青云 🚀", 21);
  const auto at = server.publish("test", data, qyun::message_kind::binary);
  client.publish("test", "");
  const auto first = test.recv(patience);
  CHECK(first.has_value());
  CHECK(first->data == data && first->channel == "test");
  CHECK(first->kind == qyun::message_kind::binary);
  CHECK(first->at.offset == at.offset);
  const auto second = test.recv(patience);
  CHECK(second.has_value() && second->data.empty() && second->kind == qyun::message_kind::text);
  CHECK(!test.recv(0ms).has_value());
  CHECK(!test.recv(20ms).has_value());
  CHECK(test.dropped() == 0);
}

TEST(recv_many_gives_ten_thousand_in_order) {
  constexpr unsigned count = 10'000;
  const auto server = start();
  const auto client = qyun::client::open(server.address());
  const auto test = client.subscribe("test");
  std::thread publisher([&] {
    for (unsigned i = 0; i < count; ++i) server.publish("test", std::to_string(i));
  });
  unsigned next = 0;
  while (next < count) {
    const auto batch = test.recv_many(256, patience);
    CHECK(!batch.empty() && batch.size() <= 256);
    CHECK(std::distance(batch.begin(), batch.end()) == static_cast<long>(batch.size()));
    for (const auto event : batch) {
      if (!event.is_message()) continue;
      CHECK(event.data() == std::to_string(next++));
    }
  }
  publisher.join();
  CHECK(test.recv_many(1, 0ms).empty());
}

TEST(the_descriptor_is_readable_while_something_waits) {
  const auto server = start();
  const auto client = qyun::client::open(server.address());
  const auto test = client.subscribe("test");
  CHECK(test.recv_many(8, patience).size() == 1);  // that it is live
  pollfd ready{test.fd(), POLLIN, 0};
  CHECK(poll(&ready, 1, 0) == 0);
  server.publish("test", "x");
  CHECK(poll(&ready, 1, 10'000) == 1);
  CHECK(poll(&ready, 1, 0) == 1);
  CHECK(test.recv(0ms).has_value());
  CHECK(poll(&ready, 1, 0) == 0);
  test.close();
  CHECK(poll(&ready, 1, 10'000) == 1);
}

TEST(a_client_closes_its_subscriptions) {
  const auto server = start();
  const auto client = qyun::client::open(server.address(), {{"reconnect", false}});
  client.wait_connected(patience);
  CHECK(client.state() == qyun::client_state::connected);
  const auto test = client.subscribe("test");
  client.close();
  client.close();
  CHECK(test.try_recv(patience).code() == QY_ERR_CLOSED);
  CHECK(client.try_publish("test", "x").code() == QY_ERR_CLOSED);
}

TEST(a_stopped_server_has_delivered_everything) {
  const auto server = start();
  const auto client = qyun::client::open(server.address());
  const auto test = client.subscribe("test");
  server.publish("test", "last");
  CHECK(server.stop(patience));
  CHECK(server.stop(0ms));
  const auto last = test.recv(patience);
  CHECK(last.has_value() && last->data == "last");
  CHECK(server.try_publish("test", "x").code() == QY_ERR_CLOSED);
}

TEST(a_server_takes_other_options_over) {
  auto options = qyun::options::make(qyun::options_for::server, {{"listen", "127.0.0.1:0"}});
  const auto server = qyun::server::start(options);
  server.create_channel("one");
  options.set({"max_channels", 1});
  CHECK(server.reload(options).empty());
  CHECK(server.try_create_channel("two").error().code() == QY_ERR_QUEUE_FULL);
  options.set({"max_channels", 2});
  options.set({"thread_name", "other"});
  CHECK(server.reload(options) == "thread_name");
  server.create_channel("two");
  const auto wrong = qyun::options::make(qyun::options_for::client);
  CHECK(server.try_reload(wrong).error().code() == QY_ERR_INVALID_ARGUMENT);
}

TEST(options_are_kept_and_used_again) {
  auto options = qyun::options::make(qyun::options_for::server, {{"listen", "127.0.0.1:0"}});
  options.set({"ping_interval_ms", 2s});
  const auto one = qyun::server::start(options);
  const auto two = qyun::server::start(options);
  CHECK(one.port() != two.port());
  CHECK(qyun::setting("x_us", 2ms).value == "2000");
  CHECK(qyun::setting("x_ms", 2s).value == "2000");
  CHECK(qyun::setting("x", true).value == "true" && qyun::setting("x", 7).value == "7");
  CHECK(qyun::setting("x", "text").value == "text");
  for (const auto kind : {qyun::options_for::server, qyun::options_for::client}) {
    const auto all = qyun::describe_options(kind);
    CHECK(all.size() > 3);
    for (const auto& option : all) CHECK(!option.key.empty() && !option.help.empty());
  }
}

int main() { return check::run_all(); }
