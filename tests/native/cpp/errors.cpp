// Errors as exceptions.

#include "check.hpp"
#include "qyun.hpp"

#include <type_traits>

using namespace std::chrono_literals;

namespace {

/// The code of the qyun::error that `act` throws; QY_OK if it throws none.
template <class Act>
qy_status thrown(Act act, const char* mentions = "") {
  try {
    act();
  } catch (const qyun::error& error) {
    CHECK(std::string(error.what()).find(mentions) != std::string::npos);
    CHECK(std::string(error.name()).rfind("QY_ERR_", 0) == 0);
    return error.code();
  }
  return QY_OK;
}

}  // namespace

static_assert(std::is_base_of_v<std::runtime_error, qyun::error>);
static_assert(std::is_same_v<decltype(qyun::server::start()), qyun::server>);

TEST(operations_throw_with_the_librarys_text) {
  const auto server = qyun::server::start({{"listen", "127.0.0.1:0"}});
  server.create_channel("test");
  CHECK(thrown([&] { server.create_channel("test"); }, "test") == QY_ERR_CHANNEL_EXISTS);
  CHECK(thrown([&] { server.publish("nowhere", "x"); }, "nowhere") == QY_ERR_CHANNEL_NOT_FOUND);
  CHECK(thrown([&] { (void)server.channel("nowhere"); }, "nowhere") == QY_ERR_CHANNEL_NOT_FOUND);
  CHECK(thrown([&] { server.publish("test", "\xff"); }) == QY_ERR_INVALID_UTF8);
  CHECK(thrown([&] { server.create_channel(std::string(256, 'x')); }) == QY_ERR_INVALID_NAME);
  CHECK(thrown([&] { server.create_channel(""); }) == QY_ERR_INVALID_NAME);
  const auto client = qyun::client::open(server.address());
  CHECK(thrown([&] { (void)client.subscribe("nowhere"); }) == QY_ERR_CHANNEL_NOT_FOUND);
  CHECK(thrown([&] { client.publish("nowhere", "x"); }) == QY_ERR_CHANNEL_NOT_FOUND);
}

TEST(a_nul_inside_a_name_is_refused_and_not_cut) {
  using namespace std::string_view_literals;
  const auto server = qyun::server::start({{"listen", "127.0.0.1:0"}});
  CHECK(thrown([&] { server.create_channel("te\0st"sv); }, "NUL") == QY_ERR_INVALID_NAME);
  CHECK(thrown([&] { (void)qyun::client::open("a:1\0"sv); }, "NUL") == QY_ERR_INVALID_URL);
  CHECK(server.channels().empty());
}

TEST(options_name_what_they_do_not_take) {
  CHECK(thrown([] { (void)qyun::server::start({{"colour", "red"}}); }, "colour") ==
        QY_ERR_UNKNOWN_OPTION);
  CHECK(thrown([] { (void)qyun::server::start({{"shards", "many"}}); }, "many") ==
        QY_ERR_INVALID_OPTION);
}

TEST(results_hold_a_value_or_a_reason) {
  auto good = qyun::server::try_start({{"listen", "127.0.0.1:0"}});
  CHECK(good.ok() && good.code() == QY_OK && good.text().empty());
  CHECK(good->port() == good.value().port());
  auto bad = qyun::server::try_start({{"shards", "many"}});
  CHECK(!bad && bad.code() == QY_ERR_INVALID_OPTION && !bad.text().empty());
  CHECK(std::string(bad.error().name()) == "QY_ERR_INVALID_OPTION");
  CHECK(thrown([&] { (void)bad.value(); }) == QY_ERR_INVALID_OPTION);
  CHECK(thrown([&] { good->try_create_channel("").value(); }) == QY_ERR_INVALID_NAME);
}

TEST(oneshot_calls_throw_too) {
  const auto server = qyun::server::start({{"listen", "127.0.0.1:0"}});
  const std::string host = server.address();
  qyun::oneshot::create_channel(host, "test");
  CHECK(thrown([&] { qyun::oneshot::create_channel(host, "test"); }) == QY_ERR_CHANNEL_EXISTS);
  CHECK(thrown([&] { qyun::oneshot::send_message(host, "nowhere", "x"); }) ==
        QY_ERR_CHANNEL_NOT_FOUND);
  CHECK(thrown([&] { qyun::oneshot::send_message(host, "test", std::string("a\0b", 3)); }) ==
        QY_ERR_INVALID_ARGUMENT);
  CHECK(thrown([&] { qyun::oneshot::stop_listening(host, "test"); }) == QY_ERR_NOT_FOUND);
}

int main() { return check::run_all(); }
