// The packet dialect on the client, against a server in the same program.

#include "check.hpp"
#include "qyun.hpp"

#include <memory>
#include <string>

using namespace std::chrono_literals;
using check::patience;

namespace {

struct Server {
  qyun::server server = qyun::server::start({{"listen", "127.0.0.1:0"}, {"shards", 1}});
  check::counter said;
  std::string last;
  Server() {
    qyun::on_packet(server, 1, [this](const qyun::packet& got) {
      last = got.connection.id() + " " + std::string(got.data);
      said.add();
    });
    qyun::on_packet(server, 2, [](const qyun::packet& got) {
      const auto more = got.connection.request(3, got.data, patience);
      got.reply->send(4, std::string(more.data()) + "!");
    });
  }
  ~Server() { server.try_stop(0ms).value(); }
};

}  // namespace

TEST(messages_and_requests_go_both_ways) {
  Server s;
  const auto held = std::make_shared<int>(0);
  auto client = qyun::packet_client::open(s.server.address(), {"u", 7, "d", "web"});
  client.on_packet(3, [&, held](const qyun::client_packet& got) {
    CHECK(got.protocol == 3 && got.reply);
    got.reply->send(3, "<" + std::string(got.data) + ">");
  });
  CHECK(client.try_send(1, "early").code() == QY_ERR_CONNECT);
  CHECK(client.state() == qyun::socket_state::disconnected);
  client.connect(patience);
  client.send(1, "hello");
  CHECK(s.said.reaches(1) && s.last == "u-7-d-web hello");
  const auto response = client.request(2, "x", patience);
  CHECK(response.protocol() == 4 && response.data() == "<x>!");
  CHECK(client.try_request(99, "", 1ms).code() == QY_ERR_TIMEOUT);
  check::counter ended;
  client.request_async(2, "y", patience,
                       [&](const qyun::status& how, std::uint32_t protocol, std::string_view data) {
                         CHECK(how && protocol == 4 && data == "<y>!");
                         ended.add();
                       });
  CHECK(ended.reaches(1));
  client.request_async(99, "", patience,
                       [&](const qyun::status& how, std::uint32_t, std::string_view data) {
                         CHECK(how.code() == QY_ERR_CLOSED && data.empty());
                         ended.add();
                       });
  CHECK(client.counters().received == 2 && client.counters().in_flight == 1);
  client.close_wait(patience);
  CHECK(ended.now() == 2 && held.use_count() == 1);
}

TEST(a_second_client_with_the_same_id_displaces_the_first) {
  Server s;
  check::counter displaced, closed;
  bool again = true;
  auto first = qyun::packet_client::open(s.server.address(), {"same"});
  first.on_event([&](const qyun::packet_client_event& event) {
    if (event.what == qyun::packet_client_event::type::displaced) {
      CHECK(event.old_ip == "127.0.0.1" && event.new_ip == "127.0.0.1" && event.ts > 0);
      displaced.add();
    }
    if (event.what == qyun::packet_client_event::type::closed) {
      again = event.will_reconnect;
      closed.add();
    }
  });
  first.connect(patience);
  auto second = qyun::packet_client::open(s.server.address(), {"same"});
  second.connect(patience);
  CHECK(displaced.reaches(1) && closed.reaches(1) && !again);
  second.send(1, "here");
  CHECK(s.said.reaches(1));
}

TEST(values_and_pull_signals) {
  Server s;
  auto client = qyun::packet_client::open(s.server.address(), {"v"}, {{"reconnect", false}});
  CHECK(client.try_value("k").code() == QY_ERR_NOT_FOUND);
  client.set("k", std::string(1000, 'v'));
  CHECK(client.value("k") == std::string(1000, 'v'));
  CHECK(client.increment("n") == 1 && client.increment("n", 41) == 42 && client.value("n") == "42");
  client.remove("n");
  CHECK(client.try_remove("n").code() == QY_ERR_NOT_FOUND);
  check::counter pulled;
  CHECK(client.try_signal_pull(5).code() == QY_ERR_NOT_FOUND);
  client.on_pull(5, [&](std::uint32_t channel) {
    CHECK(channel == 5);
    pulled.add();
  });
  client.signal_pull(5);
  CHECK(pulled.reaches(1));
}

TEST(what_is_no_identity_is_refused) {
  CHECK(qyun::packet_client::try_open("localhost", {""}).code() == QY_ERR_INVALID_ARGUMENT);
  CHECK(qyun::packet_client::try_open("localhost", {std::string("a\0b", 3)}).code() ==
        QY_ERR_INVALID_ARGUMENT);
  CHECK(qyun::packet_client::try_open("://", {"a"}).code() == QY_ERR_INVALID_URL);
}

int main() { return check::run_all(); }
