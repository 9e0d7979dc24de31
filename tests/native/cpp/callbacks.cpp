// What a callback captures lives exactly as long as it may be called.

#include "check.hpp"
#include "qyun.hpp"

#include <atomic>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using check::patience;

namespace {

struct Server {
  qyun::server server = qyun::server::start({{"listen", "127.0.0.1:0"}, {"shards", 1}});
  qyun::client client = qyun::client::open(server.address());
  Server() { server.create_channel("test"); }
};

std::atomic<int> alive{0};

/// Counts the copies of itself that exist. Moves only, so there is one at a time.
struct Tracked {
  Tracked() { ++alive; }
  Tracked(Tracked&&) noexcept { ++alive; }
  ~Tracked() { --alive; }
};

std::atomic<int> reported{0};

}  // namespace

TEST(captures_are_destroyed_once_after_close_wait) {
  Server s;
  {
    auto test = s.client.subscribe("test", [held = Tracked()](const qyun::event&) {});
    CHECK(alive == 1);
    test.close_wait(patience);
    CHECK(alive == 0);
  }
  CHECK(alive == 0);
}

TEST(captures_are_destroyed_when_subscribing_fails) {
  Server s;
  const auto ignore = [](auto&&...) {};
  for (const auto& name : {std::string("nowhere"), std::string("a\0b", 3), std::string()}) {
    auto failed = s.client.try_subscribe(
        name, [held = Tracked(), ignore](const qyun::event& event) { ignore(event); });
    CHECK(!failed && alive == 0);
  }
  auto closed = qyun::client::open(s.server.address());
  closed.close();
  CHECK(!closed.try_subscribe("test", [held = Tracked()](const qyun::event&) {}));
  CHECK(alive == 0);
}

TEST(the_destructor_waits_for_a_callback_that_runs) {
  Server s;
  std::promise<void> entered, leave;
  std::atomic<bool> left{false};
  std::optional<qyun::subscription> test =
      s.client.subscribe("test", [&](const qyun::event& event) {
        if (!event.is_message()) return;
        entered.set_value();
        leave.get_future().wait();
        left = true;
      });
  s.server.publish("test", "x");
  CHECK(entered.get_future().wait_for(patience) == std::future_status::ready);
  auto destroyed = std::async(std::launch::async, [&] {
    test.reset();
    return left.load();
  });
  CHECK(destroyed.wait_for(50ms) == std::future_status::timeout);
  leave.set_value();
  CHECK(destroyed.get());
}

TEST(a_subscription_may_be_closed_and_destroyed_in_its_callback) {
  Server s;
  std::optional<qyun::subscription> test;
  std::promise<qy_status> done;
  std::promise<void> ready;
  test = s.client.subscribe("test", [&](const qyun::event& event) {
    if (!event.is_message()) return;
    ready.get_future().wait();
    const auto waited = test->try_close_wait(patience);
    test.reset();
    done.set_value(waited.code());
  });
  s.server.publish("test", "x");
  ready.set_value();
  auto code = done.get_future();
  CHECK(code.wait_for(patience) == std::future_status::ready);
  CHECK(code.get() == QY_ERR_WOULD_DEADLOCK);
}

TEST(assigning_ends_the_subscription_before) {
  Server s;
  check::counter first, second;
  auto test = s.client.subscribe("test", [&](const qyun::event& e) {
    if (e.is_message()) first.add();
  });
  test = s.client.subscribe("test", [&](const qyun::event& e) {
    if (e.is_message()) second.add();
  });
  s.server.publish("test", "x");
  CHECK(second.reaches(1));
  CHECK(first.now() == 0);
}

TEST(events_come_in_order_with_their_place) {
  Server s;
  for (const auto where : {qyun::delivery::thread, qyun::delivery::inlined}) {
    std::vector<std::string> heard;
    std::vector<qyun::event_type> types;
    check::counter count;
    auto test = s.client.subscribe(
        "test",
        [&](const qyun::event& event) {
          types.push_back(event.type());
          if (event.is_message()) heard.emplace_back(event.data());
          count.add();
        },
        where);
    for (int i = 0; i < 100; ++i) s.server.publish("test", std::to_string(i));
    CHECK(count.reaches(101));
    test.close_wait(patience);
    CHECK(types.front() == qyun::event_type::connected);
    CHECK(types.back() == qyun::event_type::closed);
    CHECK(heard.size() == 100);
    for (int i = 0; i < 100; ++i) CHECK(heard[static_cast<std::size_t>(i)] == std::to_string(i));
  }
}

TEST(what_a_callback_throws_is_reported_and_messages_go_on) {
  Server s;
  qyun::set_exception_handler([](std::exception_ptr thrown) noexcept {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::runtime_error& error) {
      if (std::string(error.what()) == "from the callback") ++reported;
    } catch (int number) {
      if (number == 7) ++reported;
    }
  });
  check::counter heard;
  auto test = s.client.subscribe("test", [&](const qyun::event& event) {
    if (!event.is_message()) return;
    heard.add();
    if (event.data() == "bad") throw std::runtime_error("from the callback");
    if (event.data() == "odd") throw 7;
  });
  for (const char* text : {"bad", "odd", "good"}) s.server.publish("test", text);
  CHECK(heard.reaches(3));
  test.close_wait(patience);
  CHECK(reported == 2);
  qyun::set_exception_handler(nullptr);
}

TEST(a_log_handler_is_destroyed_when_it_is_replaced) {
  for (const auto level : {QY_LOG_TRACE, QY_LOG_ERROR}) {
    qyun::set_log(level, [held = Tracked()](std::int32_t, std::string_view, std::string_view) {});
    CHECK(alive == 1);
  }
  qyun::clear_log();
  CHECK(alive == 0);
}

TEST(oneshot_listeners_destroy_their_captures) {
  Server s;
  const std::string host = s.server.address();
  check::counter heard;
  qyun::oneshot::listen_channel(
      host, "test", [held = Tracked(), &heard](qyun::event_type type, std::string_view data) {
        if (type == qyun::event_type::message && data == "x") heard.add();
      });
  qyun::oneshot::send_message(host, "test", "x");
  CHECK(heard.reaches(1));
  CHECK(alive == 1);
  qyun::oneshot::stop_listening(host, "test");
  CHECK(alive == 0);
  CHECK(!qyun::oneshot::try_listen_channel(
      host, "nowhere", [held = Tracked()](qyun::event_type, std::string_view) {}));
  CHECK(alive == 0);
}

int main() { return check::run_all(); }
