// Positions: subscriptions that continue, and history.

#include "check.hpp"
#include "qyun.hpp"

#include <string>
#include <vector>

using namespace std::chrono_literals;
using check::patience;

namespace {

qyun::server keeping() {
  auto server = qyun::server::start(
      {{"listen", "127.0.0.1:0"}, {"shards", 1}, {"namespaces", "kept: history_size=10"}});
  server.create_channel("kept");
  return server;
}

std::vector<qyun::position> publish(const qyun::server& server, int count) {
  std::vector<qyun::position> places;
  for (int number = 1; number <= count; number++)
    places.push_back(server.publish("kept", std::to_string(number)));
  return places;
}

}  // namespace

TEST(a_subscription_begins_behind_a_position) {
  const auto server = keeping();
  const auto places = publish(server, 12);
  const auto client = qyun::client::open(server.address());
  const auto pulled = client.subscribe_since("kept", places[4]);
  std::vector<std::string> texts;
  while (texts.size() < 7) {
    const auto batch = pulled.recv_many(100, patience);
    for (const qyun::event event : batch) {
      if (event.is_message()) {
        CHECK(event.at().offset == texts.size() + 6 && !event.recovered());
        texts.emplace_back(event.data());
      } else {
        CHECK(event.recovered() == true && event.at().offset == 5);
      }
    }
  }
  CHECK(texts.front() == "6" && texts.back() == "12");

  check::counter told;
  const auto lost = client.subscribe_since("kept", places[0], [&](const qyun::event& event) {
    if (event.type() != qyun::event_type::connected) return;
    if (event.recovered() == false && event.at().offset == 12) told.add();
  });
  CHECK(told.reaches(1));
  const auto plain = client.subscribe("kept");
  const auto first = plain.recv_many(1, patience);
  for (const qyun::event event : first) CHECK(!event.recovered());
}

TEST(history_is_read_forward_and_backward) {
  const auto server = keeping();
  const auto places = publish(server, 12);
  const auto client = qyun::client::open(server.address());
  const auto page = client.history("kept");
  CHECK(page.size() == 10 && !page.empty() && page.first() == 3 && !page.more());
  CHECK(page.at().epoch == places[11].epoch && page.at().offset == 12);
  std::uint64_t offset = 3;
  for (const qyun::publication one : page) {
    CHECK(one.at.offset == offset && one.data == std::to_string(offset));
    CHECK(one.kind == qyun::message_kind::text && one.at.epoch == page.at().epoch);
    CHECK(one.time > std::chrono::system_clock::now() - 1h);
    ++offset;
  }
  qyun::history_range range;
  range.before = 10;
  range.limit = 2;
  range.backward = true;
  const auto back = server.history("kept", range);
  CHECK(back.size() == 2 && back.more() && back[0].data == "9" && back[1].data == "8");
  CHECK(client.try_history("none such").code() == QY_ERR_CHANNEL_NOT_FOUND);
  CHECK(server.try_history("none such").code() == QY_ERR_CHANNEL_NOT_FOUND);
  CHECK(client.try_history(std::string_view("a\0b", 3)).code() == QY_ERR_INVALID_NAME);
  range.limit = 1001;
  CHECK(server.try_history("kept", range).code() == QY_ERR_INVALID_ARGUMENT);
}

int main() { return check::run_all(); }
