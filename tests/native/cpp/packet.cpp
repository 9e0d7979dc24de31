// The packet dialect on a server; the client is a socket that packs by the protocol's table.

#include "check.hpp"
#include "qyun.hpp"

#include <memory>
#include <optional>
#include <string>
#include <thread>

using namespace std::chrono_literals;
using check::patience;

namespace {

struct Packed {
  std::uint32_t protocol, sn;
  std::string data;
  bool operator==(const Packed& other) const {
    return protocol == other.protocol && sn == other.sn && data == other.data;
  }
};

class Client {
 public:
  Client(const qyun::server& server, const std::string& query)
      : socket_(qyun::socket::open("ws://" + server.address() + "/join?" + query)) {
    socket_.connect(patience);
  }
  void send(const Packed& packed) {
    std::string bytes = "\xfe\xef";
    for (const std::uint32_t number :
         {std::uint32_t(8 + packed.data.size()), packed.protocol, packed.sn}) {
      for (int i = 0; i < 4; i++) bytes += static_cast<char>(number >> 8 * i);
    }
    socket_.send(bytes + packed.data, qyun::message_kind::binary);
  }
  Packed receive() {
    for (;;) {
      auto batch = socket_.recv(1, patience);
      CHECK(!batch.empty());
      for (const auto event : batch) {
        if (!event.is_message()) continue;
        const std::string_view bytes = event.data();
        CHECK(bytes.size() >= 14 && bytes.substr(0, 2) == "\xfe\xef");
        const auto word = [&](std::size_t at) {
          std::uint32_t number = 0;
          for (int i = 0; i < 4; i++)
            number |= std::uint32_t(static_cast<unsigned char>(bytes[at + i])) << 8 * i;
          return number;
        };
        CHECK(word(2) == bytes.size() - 6);
        return {word(6), word(10), std::string(bytes.substr(14))};
      }
    }
  }
  void close() { socket_.close(); }

 private:
  qyun::socket socket_;
};

qyun::server start() { return qyun::server::start({{"listen", "127.0.0.1:0"}, {"shards", 1}}); }

}  // namespace

TEST(handlers_answer_now_and_later) {
  for (const auto where : {qyun::delivery::thread, qyun::delivery::inlined}) {
    auto server = start();
    const auto held = std::make_shared<int>(0);
    check::counter messages;
    std::optional<qyun::packet_reply> later;
    qyun::on_packet(
        server, 1,
        [&, held](const qyun::packet& got) {
          if (got.data == "later") later = got.reply->clone();
          if (got.data == "now") got.reply->send(10, got.connection.id());
          if (!got.reply) CHECK(got.data.empty());
          messages.add();
        },
        where);
    CHECK(held.use_count() == 2);
    Client client(server, "uid=1&device=d");
    client.send({1, 0, ""});
    client.send({1, 2, "later"});
    client.send({1, 4, "now"});
    CHECK(client.receive() == (Packed{10, 4, "1-0-d-"}));
    CHECK(messages.reaches(3));
    later->send(11, "then");
    CHECK(client.receive() == (Packed{11, 2, "then"}));
    CHECK(later->try_send(11, "again").code() == QY_ERR_INVALID_ARGUMENT);
    qyun::off_packet(server, 1);
    CHECK(held.use_count() == 1);
    CHECK(qyun::packet_counters(server).received == 3);
  }
}

TEST(the_server_asks_waiting_and_not) {
  auto server = start();
  check::counter joined, ended;
  std::optional<qyun::packet_connection> peer;
  qyun::on_packet_event(server, [&](const qyun::packet_connection& connection,
                                    const qyun::packet_event& event) {
    if (event.what == qyun::packet_event::type::established) {
      peer = connection.clone();
      joined.add();
    }
  });
  Client client(server, "uid=9&type=7");
  CHECK(joined.reaches(1));
  CHECK(peer->identity("uid") == "9" && peer->identity("type") == "7");
  std::thread asker([&] {
    const auto response = peer->request(5, "who?", patience);
    CHECK(response.protocol() == 50 && response.data() == "me");
  });
  CHECK(client.receive() == (Packed{5, 3, "who?"}));
  client.send({50, 3, "me"});
  asker.join();
  CHECK(peer->try_request(5, "", 1ms).code() == QY_ERR_TIMEOUT);
  client.receive();
  const auto held = std::make_shared<int>(0);
  peer->request_async(6, "x", patience,
                      [&, held](const qyun::status& how, std::uint32_t protocol,
                                std::string_view data) {
                        CHECK(how && protocol == 6 && data == "y");
                        ended.add();
                      });
  CHECK(client.receive() == (Packed{6, 7, "x"}));
  client.send({6, 7, "y"});
  CHECK(ended.reaches(1));
  peer->request_async(6, "x", patience,
                      [&](const qyun::status& how, std::uint32_t, std::string_view data) {
                        CHECK(how.code() == QY_ERR_CLOSED && data.empty());
                        ended.add();
                      });
  client.receive();
  client.close();
  CHECK(ended.reaches(2) && held.use_count() == 1);
  CHECK(peer->try_send(1, "x").code() == QY_ERR_CLOSED);
}

TEST(displacement_and_pull_signals) {
  auto server = start();
  check::counter displaced, pulled;
  std::optional<qyun::packet_connection> peer;
  check::counter joined;
  qyun::on_packet_event(server, [&](const qyun::packet_connection& connection,
                                    const qyun::packet_event& event) {
    using type = qyun::packet_event::type;
    if (event.what == type::established && joined.now() == 0) peer = connection.clone();
    if (event.what == type::established) joined.add();
    if (event.what == type::closed && event.code == 3505 && !event.by_peer) displaced.add();
  });
  qyun::on_pull(server, 4, [&](const qyun::packet_connection& connection, std::uint32_t channel) {
    CHECK(channel == 4 && connection.id() == "1-0--");
    pulled.add();
  });
  Client first(server, "uid=1");
  CHECK(joined.reaches(1));
  peer->signal_pull(4);
  CHECK(pulled.reaches(1));
  CHECK(peer->try_signal_pull(5).code() == QY_ERR_NOT_FOUND);
  Client second(server, "uid=1");
  CHECK(first.receive().protocol == 2147483647);
  CHECK(displaced.reaches(1));
}

int main() { return check::run_all(); }
