// A chat with users and rooms, at ws://HOST:PORT/chat?user=NAME. What clients say:
// /join ROOM, /leave ROOM, /say ROOM TEXT, /to USER TEXT, /kick USER
#include <qyun.hpp>

#include <algorithm>
#include <iostream>
#include <sstream>
#include <string>

// The value of `user` in a query, percent-decoded.
static std::string user_of(const std::string& query) {
  std::string user;
  const std::size_t at = query.find("user=");
  if (at == query.npos) return user;
  for (std::size_t i = at + 5; i < query.size() && query[i] != '&'; i++) {
    if (query[i] == '%' && i + 2 < query.size()) {
      user += static_cast<char>(std::strtol(query.substr(i + 1, 2).c_str(), nullptr, 16));
      i += 2;
    } else {
      user += query[i];
    }
  }
  return user;
}

int main(int argc, char** argv) {
  auto server = qyun::server::start({{"listen", argc > 1 ? argv[1] : "127.0.0.1:8000"}});
  // It fails only when everybody has gone.
  const auto tell = [&](const std::string& room, const std::string& what) {
    (void)server.try_publish(room, room + ": " + what);
  };
  qyun::endpoint chat;

  chat.connect = [&](const qyun::upgrade& upgrade) {
    const std::string user = user_of(upgrade.query());
    if (user.empty()) return upgrade.refuse(400, "Connect with ?user=NAME");
    if (!qyun::connections(server, {{}, user, {}}).empty())
      return upgrade.refuse(409, "There is somebody of this name");
    upgrade.accept(user, user);
  };

  chat.message = [&](const qyun::connection& from, std::string_view line, qyun::message_kind) {
    std::istringstream words{std::string(line)};
    std::string verb, name, text;
    std::getline(std::getline(words, verb, ' '), name, ' ');
    std::getline(words, text, '\0');
    const std::string me = from.user(), said = "<" + me + "> " + text;
    const auto rooms = from.channels();
    const bool inside = std::find(rooms.begin(), rooms.end(), name) != rooms.end();
    if (verb == "/join" && from.try_join(name)) {  // a channel that is there while it has members
      tell(name, me + " joined");
    } else if (verb == "/leave" && inside) {
      from.leave(name);
      tell(name, me + " left");
    } else if (verb == "/say" && inside) {
      tell(name, said);
    } else if (verb == "/kick" && qyun::send_to_user(server, name, me + " kicks you")) {
      for (const auto& one : qyun::connections(server, {{}, name, {}})) one.close(4003, "kicked");
    } else if (verb != "/to" || !qyun::send_to_user(server, name, said)) {
      from.send("? " + std::string(line));
    }
  };

  chat.disconnect = [&](const qyun::connection& who, const qyun::closure&) {
    for (const std::string& room : who.channels()) tell(room, who.user() + " left");
  };

  qyun::handle(server, "/chat", chat, {{"max_message_bytes", 4096}});
  std::cout << "ws://" << server.address() << "/chat" << std::endl;
  std::cin.ignore(std::numeric_limits<std::streamsize>::max());  // until the input ends
  server.stop(std::chrono::seconds(1));
}
