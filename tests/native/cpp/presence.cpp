// Patterns, and who is in a channel.

#include "check.hpp"
#include "qyun.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>

using check::patience;

namespace {

/// What callbacks heard, in order.
class inbox {
 public:
  void push(std::string text) {
    const std::lock_guard<std::mutex> held(lock_);
    heard_.push_back(std::move(text));
    changed_.notify_all();
  }
  std::string pop() {
    std::unique_lock<std::mutex> held(lock_);
    CHECK(changed_.wait_for(held, patience, [&] { return !heard_.empty(); }));
    std::string first = std::move(heard_.front());
    heard_.pop_front();
    return first;
  }

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<std::string> heard_;
};

qyun::server rooms() {
  return qyun::server::start(
      {{"listen", "127.0.0.1:0"}, {"namespaces", "room: presence=true, auto_create=true"}});
}

}  // namespace

TEST(a_pattern_brings_messages_with_their_channels) {
  const auto server = rooms();
  const auto client = qyun::client::open(server.address());
  server.create_channel("news.a");
  const auto pulled = client.subscribe_pattern("news.*");
  inbox heard;
  const auto called = client.subscribe_pattern("news.>", [&](const qyun::event& event) {
    if (event.is_message()) heard.push(std::string(event.channel()) + "=" + std::string(event.data()));
  });
  server.create_channel("news.b");
  server.publish("news.a", "1");
  server.publish("news.b", "2");
  CHECK(heard.pop() == "news.a=1");
  CHECK(heard.pop() == "news.b=2");
  std::string got;
  while (got.size() < 2) {
    const auto batch = pulled.recv_many(10, patience);
    for (const qyun::event event : batch)
      if (event.is_message()) got += event.data();
  }
  CHECK(got == "12");
  CHECK(client.try_subscribe_pattern("a.>.b").code() == QY_ERR_INVALID_NAME);
}

TEST(who_is_there_and_who_comes_and_goes) {
  const auto server = rooms();
  const auto client = qyun::client::open(server.address());
  inbox heard;
  const auto room = client.subscribe_presence("room", [&](const qyun::event& event) {
    const auto id = std::string(event.data());
    if (event.type() == qyun::event_type::join) {
      CHECK(event.edge() && !event.user() && event.time().count() > 1700000000000);
      heard.push("+" + id);
    } else if (event.type() == qyun::event_type::leave) {
      heard.push("-" + id);
    }
  });
  const std::string own = heard.pop();
  std::string other;
  {
    const auto second = qyun::client::open(server.address());
    const auto theirs = second.subscribe_presence("room");
    other = heard.pop();
    CHECK(other[0] == '+' && other != own);
    const auto page = client.presence("room", {}, 1);
    CHECK(page.members.size() == 1 && page.count == 2 && page.more && page.anonymous == 0);
    const auto rest = server.presence("room", page.members[0].id);
    CHECK(rest.members.size() == 1 && !rest.more && !rest.members[0].user);
    CHECK("+" + rest.members[0].id == own || "+" + rest.members[0].id == other);
  }
  other[0] = '-';
  CHECK(heard.pop() == other);
  CHECK(client.try_presence("none such").code() == QY_ERR_CHANNEL_NOT_FOUND);
}

int main() { return check::run_all(); }
