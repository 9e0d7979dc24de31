// A program with a Qyun server inside: it publishes without the network, and anything that speaks
// HTTP or WebSocket can listen and send. Here the program listens to itself.
//
//     embed [HOST:PORT]        (without it: any free port)

#include "qyun.hpp"

#include <chrono>
#include <future>
#include <iostream>
#include <string>

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;

  auto server = qyun::server::start({
      {"listen", argc > 1 ? argv[1] : "127.0.0.1:0"},
      {"ping_interval_ms", 10s},
  });
  server.create_channel("news");
  std::cout << "listening on " << server.address() << std::endl;

  // A callback runs on a thread of the library; the promise carries its result to this one.
  std::promise<std::string> done;
  auto client = qyun::client::open(server.address());
  auto news = client.subscribe("news", [&](const qyun::event& event) {
    if (!event.is_message()) return;
    std::cout << event.channel() << ": " << event.data() << std::endl;
    if (event.data() == "bye") done.set_value(std::string(event.data()));
  });

  server.publish("news", "青云 hello from inside");  // no network
  client.publish("news", "hello over the network");  // acknowledged by the server
  server.publish("news", "bye");

  if (done.get_future().wait_for(10s) != std::future_status::ready) {
    std::cerr << "embed: the last message did not come\n";
    return 1;
  }

  news.close();
  client.close();
  const bool all_went = server.stop(5s);
  const auto totals = server.counters();  // final, now that it is stopped
  std::cout << totals.published << " published, " << totals.delivered << " delivered" << std::endl;
  return all_went ? 0 : 1;
} catch (const qyun::error& error) {
  std::cerr << "embed: " << error.what() << " (" << error.name() << ")\n";
  return 1;
}
