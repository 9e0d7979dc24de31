// The latency test (examples/test_latency.cpp) as it is written without libqyun: libcurl sends,
// libwebsockets listens. A channel `test`, 100 messages at 30 a second, each message's latency counted
// from its own send time.
//
//     latency_curl_lws HOST:PORT [--messages N] [--rate R] [--size B] [--fresh]
//
// One curl handle is kept for all messages, and with it the connection; --fresh makes one for each.
// Exit code: 0 if every message came once and in order, 1 if not, 2 for a wrong command line.

#include <curl/curl.h>
#include <libwebsockets.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace {

using steady = std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds(10);

struct Arguments {
  std::string host;
  unsigned messages = 100;
  double rate = 30;
  unsigned size = 128;
  bool fresh = false;
};

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(steady::now().time_since_epoch()).count();
}

// What the listener has heard. A message reads INDEX:SENT_NS:xxxx.
struct Heard {
  std::mutex lock;
  std::condition_variable changed;
  bool open = false;
  bool failed = false;
  bool in_order = true;
  std::vector<std::int64_t> latencies;
  std::string partial;

  void hear(const char* data, std::size_t length, bool whole) {
    const std::int64_t at = now_ns();
    partial.append(data, length);
    if (!whole) return;
    char* end = nullptr;
    const unsigned long index = std::strtoul(partial.c_str(), &end, 10);
    const std::int64_t sent = std::strtoll(end + (*end == ':'), nullptr, 10);
    partial.clear();
    const std::lock_guard<std::mutex> held(lock);
    in_order = in_order && index == latencies.size();
    latencies.push_back(at - sent);
    changed.notify_one();
  }

  template <class Condition>
  bool wait(Condition condition) {
    std::unique_lock<std::mutex> held(lock);
    return changed.wait_for(held, kPatience, [&] { return failed || condition(); }) && !failed;
  }

  void become(bool& state) {
    const std::lock_guard<std::mutex> held(lock);
    state = true;
    changed.notify_one();
  }
};

int on_event(lws* socket, lws_callback_reasons reason, void*, void* in, std::size_t size) {
  auto* heard = static_cast<Heard*>(lws_context_user(lws_get_context(socket)));
  switch (reason) {
    case LWS_CALLBACK_CLIENT_ESTABLISHED: heard->become(heard->open); break;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
    case LWS_CALLBACK_CLIENT_CLOSED: heard->become(heard->failed); break;
    case LWS_CALLBACK_CLIENT_RECEIVE:
      heard->hear(static_cast<const char*>(in), size,
                  lws_is_final_fragment(socket) != 0 && lws_remaining_packet_payload(socket) == 0);
      break;
    default: break;
  }
  return 0;
}

// Listens on a thread of its own until it goes.
class Listener {
 public:
  Listener(const std::string& host, const char* path, Heard& heard) {
    lws_set_log_level(LLL_ERR, nullptr);
    protocols_[0].name = "channel-protocol";
    protocols_[0].callback = on_event;
    protocols_[0].rx_buffer_size = 4096;
    lws_context_creation_info info{};
    info.port = CONTEXT_PORT_NO_LISTEN;
    info.protocols = protocols_;
    info.user = &heard;
    context_ = lws_create_context(&info);
    const std::size_t colon = host.rfind(':');
    const std::string name = host.substr(0, colon);
    lws_client_connect_info connect{};
    connect.context = context_;
    connect.address = name.c_str();
    connect.port = std::atoi(host.c_str() + colon + 1);
    connect.path = path;
    connect.host = name.c_str();
    connect.origin = name.c_str();
    connect.protocol = nullptr;
    connect.local_protocol_name = "channel-protocol";
    lws_client_connect_via_info(&connect);
    thread_ = std::thread([this] {
      while (!over_ && lws_service(context_, 0) >= 0) {
      }
    });
  }
  ~Listener() {
    over_ = true;
    lws_cancel_service(context_);
    thread_.join();
    lws_context_destroy(context_);
  }

 private:
  lws_protocols protocols_[2]{};
  lws_context* context_ = nullptr;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

std::size_t ignore(char*, std::size_t size, std::size_t count, void*) { return size * count; }

CURL* open_curl() {
  CURL* curl = curl_easy_init();
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore);
  curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);
  return curl;
}

/// The status of the answer, or 0.
long get(CURL* curl, const std::string& url) {
  long status = 0;
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  if (curl_easy_perform(curl) != CURLE_OK) return 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  return status;
}

bool send_all(const Arguments& with) {
  const auto start = steady::now();
  const std::chrono::duration<double> gap(1 / with.rate);
  const std::string before = "http://" + with.host + "/channel/send/test/";
  CURL* kept = with.fresh ? nullptr : open_curl();
  bool good = true;
  for (unsigned index = 0; good && index < with.messages; ++index) {
    std::this_thread::sleep_until(start + std::chrono::duration_cast<steady::duration>(gap * index));
    std::string message = std::to_string(index) + ':' + std::to_string(now_ns()) + ':';
    if (message.size() < with.size) message.resize(with.size, 'x');
    CURL* curl = kept ? kept : open_curl();
    good = get(curl, before + message) == 200;
    if (!kept) curl_easy_cleanup(curl);
  }
  if (kept) curl_easy_cleanup(kept);
  return good;
}

void print_figures(std::vector<std::int64_t> latencies) {
  if (latencies.empty()) return;
  std::sort(latencies.begin(), latencies.end());
  const auto percentile = [&](double share) {
    const double rank = std::ceil(share * static_cast<double>(latencies.size()));
    return static_cast<double>(latencies[static_cast<std::size_t>(rank) - 1]) / 1e6;
  };
  const double sum = std::accumulate(latencies.begin(), latencies.end(), 0.0);
  std::printf("latency: average %.3f ms, p50 %.3f ms, p99 %.3f ms\n",
              sum / static_cast<double>(latencies.size()) / 1e6, percentile(0.50), percentile(0.99));
}

}  // namespace

int main(int argc, char** argv) {
  Arguments with;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--fresh") with.fresh = true;
    else if (word == "--messages") with.messages = static_cast<unsigned>(std::atoi(value)), ++i;
    else if (word == "--rate") with.rate = std::atof(value), ++i;
    else if (word == "--size") with.size = static_cast<unsigned>(std::atoi(value)), ++i;
    else with.host = word;
  }
  if (with.host.find(':') == std::string::npos || with.messages == 0 || with.rate <= 0) {
    std::fprintf(stderr, "usage: latency_curl_lws HOST:PORT [--messages N] [--rate R] [--size B] [--fresh]\n");
    return 2;
  }
  curl_global_init(CURL_GLOBAL_DEFAULT);
  CURL* curl = open_curl();
  get(curl, "http://" + with.host + "/channel/create/test");
  curl_easy_cleanup(curl);
  Heard heard;
  bool good = false;
  {
    const Listener listener(with.host, "/channel/listen/test", heard);
    good = heard.wait([&] { return heard.open; }) && send_all(with) &&
           heard.wait([&] { return heard.latencies.size() >= with.messages; });
  }
  good = good && heard.in_order && heard.latencies.size() == with.messages;
  print_figures(heard.latencies);
  std::printf("received %zu of %u\n", heard.latencies.size(), with.messages);
  curl_global_cleanup();
  return good ? 0 : 1;
}
