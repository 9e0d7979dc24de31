// The latency test: a channel `test`, 100 messages at 30 a second, each message's latency counted
// from its own send time.
//
//     test_latency [HOST:PORT] [--messages N] [--rate R] [--size B] [--ws]
//
// Without HOST:PORT it starts a server in this process. --ws sends over a WebSocket, not HTTP.
// Exit code: 0 if every message came once and in order, 1 if not, 2 for a wrong command line.

#include "qyun_compat.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using steady = std::chrono::steady_clock;

const std::string kChannel = "test";
constexpr auto kPatience = std::chrono::seconds(10);

struct Arguments {
  std::string host;
  unsigned messages = 100;
  double rate = 30;
  unsigned size = 128;
  bool websocket = false;
};

template <class T>
bool read_number(const char* text, T least, T most, T& out) {
  const char* end = text + std::strlen(text);
  const auto [stop, problem] = std::from_chars(text, end, out);
  return problem == std::errc() && stop == end && out >= least && out <= most;
}

std::optional<Arguments> read_arguments(int argc, char** argv) {
  Arguments out;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    bool good = true;
    if (word == "--ws") {
      out.websocket = true;
    } else if (word == "--messages") {
      good = read_number(value, 1u, 10'000'000u, out.messages), ++i;
    } else if (word == "--rate") {
      good = read_number(value, 0.001, 1e6, out.rate), ++i;
    } else if (word == "--size") {
      good = read_number(value, 1u, 1u << 20, out.size), ++i;
    } else if (word[0] == '-' || !out.host.empty()) {
      good = false;
    } else {
      out.host = word;
    }
    if (!good) {
      std::fprintf(stderr,
                   "test_latency: '%s %s' is not understood\n"
                   "usage: test_latency [HOST:PORT] [--messages N] [--rate R] [--size B] [--ws]\n",
                   word.c_str(), value);
      return std::nullopt;
    }
  }
  return out;
}

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(steady::now().time_since_epoch())
      .count();
}

// A message reads RUN:INDEX:SENT_NS:xxxx. RUN tells this test's messages from those of others on
// the channel. INDEX counts up from 0; the one after the last message is the end mark: since a
// channel keeps its order, all that were sent before it have come, or never will.
class Receiver {
 public:
  Receiver(std::string run, unsigned messages) : run_(std::move(run) + ':'), messages_(messages) {}

  void hear(const std::string& message) {
    const std::int64_t at = now_ns();
    if (message.compare(0, run_.size(), run_) != 0) return;
    unsigned index = 0;
    std::int64_t sent = 0;
    const char* end = message.data() + message.size();
    const auto head = std::from_chars(message.data() + run_.size(), end, index);
    if (head.ptr < end) std::from_chars(head.ptr + 1, end, sent);

    const std::lock_guard<std::mutex> held(lock_);
    if (index == messages_) {
      ended_ = true;
      changed_.notify_one();
      return;
    }
    in_order_ = in_order_ && index == latencies_.size();
    latencies_.push_back(at - sent);
  }

  /// False if the end mark did not come in time.
  bool wait(std::chrono::nanoseconds patience) {
    std::unique_lock<std::mutex> held(lock_);
    return changed_.wait_for(held, patience, [&] { return ended_; });
  }

  bool all_in_order() const { return in_order_ && latencies_.size() == messages_; }
  std::vector<std::int64_t> take() { return std::move(latencies_); }

 private:
  const std::string run_;
  const unsigned messages_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::vector<std::int64_t> latencies_;
  bool in_order_ = true;
  bool ended_ = false;
};

bool send(const Arguments& with, const std::string& message) {
  return with.websocket ? send_message_ws(with.host, kChannel, message)
                        : send_message(with.host, kChannel, message);
}

/// Sends the messages at their rate, then the end mark.
bool send_all(const Arguments& with, const std::string& run) {
  const auto start = steady::now();
  const std::chrono::duration<double> gap(1 / with.rate);
  for (unsigned index = 0; index <= with.messages; ++index) {
    std::this_thread::sleep_until(
        start + std::chrono::duration_cast<steady::duration>(gap * index));
    std::string message = run + ':' + std::to_string(index) + ':' + std::to_string(now_ns()) + ':';
    if (message.size() < with.size) message.resize(with.size, 'x');
    if (!send(with, message)) {
      std::fprintf(stderr, "test_latency: message %u was not sent: %s\n", index,
                   qyun::compat::last_error().c_str());
      return false;
    }
  }
  return true;
}

void print_figures(std::vector<std::int64_t> latencies) {
  if (latencies.empty()) return;
  std::sort(latencies.begin(), latencies.end());
  // The smallest latency that at least this share of the messages did not exceed.
  const auto percentile = [&](double share) {
    const double rank = std::ceil(share * static_cast<double>(latencies.size()));
    return static_cast<double>(latencies[static_cast<std::size_t>(rank) - 1]) / 1e6;
  };
  const double sum = std::accumulate(latencies.begin(), latencies.end(), 0.0);
  std::printf("latency: average %.3f ms, p50 %.3f ms, p99 %.3f ms\n",
              sum / static_cast<double>(latencies.size()) / 1e6, percentile(0.50),
              percentile(0.99));
}

int run(Arguments with) {
  std::optional<qyun::server> embedded;
  if (with.host.empty()) {
    auto started = qyun::server::try_start({{"listen", "127.0.0.1:0"}});
    if (!started) {
      std::fprintf(stderr, "test_latency: no server: %s\n", started.text().c_str());
      return 1;
    }
    embedded = *std::move(started);
    with.host = embedded->address();
  }

  const std::string run = std::to_string(std::random_device{}());
  Receiver receiver(run, with.messages);
  regist_websocket_callback([&](const std::string& message) { receiver.hear(message); });

  // A channel that exists already will do; if there is none, listening says why.
  create_channel(with.host, kChannel);
  if (listen_channel(with.host, kChannel) != 0) {
    std::fprintf(stderr, "test_latency: cannot listen: %s\n", qyun::compat::last_error().c_str());
    return 1;
  }

  std::printf("%s server %s, channel %s: %u messages of %u bytes, %g a second, sent by %s\n",
              embedded ? "embedded" : "external", with.host.c_str(), kChannel.c_str(),
              with.messages, with.size, with.rate, with.websocket ? "WebSocket" : "HTTP");
  std::fflush(stdout);
  const bool ended = send_all(with, run) && receiver.wait(kPatience);
  // No callback runs after this: the receiver may be read, and go.
  qyun::compat::stop_listening(with.host, kChannel);

  const bool good = ended && receiver.all_in_order();
  const auto latencies = receiver.take();
  print_figures(latencies);
  std::printf("received %zu of %u%s\n", latencies.size(), with.messages,
              good || latencies.size() != with.messages ? "" : ", but not in order");
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = read_arguments(argc, argv);
  return arguments ? run(*arguments) : 2;
}
