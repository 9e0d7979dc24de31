// Runs scenario files through the C++ binding; see README.md beside this.

#include "qyun.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace {

using Words = std::vector<std::string>;
constexpr std::chrono::seconds kPatience(10);

std::string decode(const std::string& word) {
  if (word == "-") return {};
  if (word[0] == '*') return std::string(std::stoul(word.substr(1)), 'x');
  std::string out;
  for (std::size_t i = 0; i < word.size(); ++i) {
    if (word[i] == '%') {
      out += static_cast<char>(std::stoi(word.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      out += word[i];
    }
  }
  return out;
}

std::string encode(const std::string& data) {
  if (data.empty()) return "-";
  if (data.size() > 64 && data.find_first_not_of('x') == data.npos) {
    return "*" + std::to_string(data.size());
  }
  static const std::string plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
  std::string out;
  for (const char c : data) {
    if (plain.find(c) != plain.npos) {
      out += c;
    } else {
      char escaped[4];
      std::snprintf(escaped, sizeof escaped, "%%%02X", static_cast<unsigned char>(c));
      out += escaped;
    }
  }
  return out;
}

/// The objects that the steps name.
class Scenario {
 public:
  std::string answer(const Words& step) {
    try {
      return act(step);
    } catch (const qyun::error& error) {
      return error.name();
    }
  }

 private:
  std::string act(const Words& step) {
    const std::string& verb = step.at(0);
    const std::string& label = step.at(1);
    if (verb == "server") {
      auto options = qyun::options::make(qyun::options_for::server, {{"listen", "127.0.0.1:0"}});
      set(options, step, 2);
      servers_.emplace(label, qyun::server::start(options));
    } else if (verb == "client") {
      auto options = qyun::options::make(qyun::options_for::client);
      set(options, step, 3);
      const std::string host = servers_.at(step.at(2)).address();
      clients_.emplace(label, qyun::client::open(host, options));
    } else if (verb == "create") {
      create(label, decode(step.at(2)));
    } else if (verb == "delete") {
      const std::string channel = decode(step.at(2));
      if (servers_.count(label)) {
        servers_.at(label).delete_channel(channel);
      } else {
        clients_.at(label).delete_channel(channel);
      }
    } else if (verb == "publish") {
      publish(label, decode(step.at(2)), step.at(3), decode(step.at(4)));
    } else if (verb == "subscribe") {
      const std::string channel = decode(step.at(3));
      subscriptions_.emplace(label, clients_.at(step.at(2)).subscribe(channel));
    } else if (verb == "recv") {
      return received(label, kPatience);
    } else if (verb == "poll") {
      return received(label, std::chrono::milliseconds(0));
    } else if (verb == "channels") {
      return channels(label);
    } else if (verb == "info") {
      const auto info = servers_.at(label).channel(decode(step.at(2)));
      return "subscribers=" + std::to_string(info.subscribers) +
             " offset=" + std::to_string(info.last.offset);
    } else if (verb == "close") {
      if (subscriptions_.count(label)) {
        subscriptions_.at(label).close();
      } else {
        clients_.at(label).close();
      }
    } else if (verb == "stop") {
      return servers_.at(label).stop(kPatience) ? "ok" : "cut";
    } else {
      throw std::invalid_argument("no step '" + verb + "'");
    }
    return "ok";
  }

  static void set(qyun::options& options, const Words& step, std::size_t from) {
    for (std::size_t i = from; i < step.size(); ++i) {
      const auto equals = step[i].find('=');
      options.set({step[i].substr(0, equals), std::string_view(step[i]).substr(equals + 1)});
    }
  }

  void create(const std::string& who, const std::string& channel) {
    if (who[0] == '@') {
      qyun::oneshot::create_channel(servers_.at(who.substr(1)).address(), channel);
    } else if (servers_.count(who)) {
      servers_.at(who).create_channel(channel);
    } else {
      clients_.at(who).create_channel(channel);
    }
  }

  void publish(const std::string& who, const std::string& channel, const std::string& kind_name,
               const std::string& data) {
    const auto kind =
        kind_name == "binary" ? qyun::message_kind::binary : qyun::message_kind::text;
    if (who[0] == '@') {
      qyun::oneshot::send_message(servers_.at(who.substr(1)).address(), channel, data);
    } else if (servers_.count(who)) {
      servers_.at(who).publish(channel, data, kind);
    } else {
      clients_.at(who).publish(channel, data, kind);
    }
  }

  std::string received(const std::string& label, std::chrono::milliseconds timeout) {
    const auto message = subscriptions_.at(label).recv(timeout);
    if (!message) return "none";
    const bool text = message->kind == qyun::message_kind::text;
    return (text ? "text " : "binary ") + encode(message->data);
  }

  std::string channels(const std::string& server) {
    Words names;
    for (const auto& info : servers_.at(server).channels()) names.push_back(info.name);
    std::sort(names.begin(), names.end());
    std::string out;
    for (const auto& name : names) out += (out.empty() ? "" : " ") + encode(name);
    return out.empty() ? "-" : out;
  }

  std::map<std::string, qyun::server> servers_;
  std::map<std::string, qyun::client> clients_;
  std::map<std::string, qyun::subscription> subscriptions_;
};

/// True if every step of the file answered what the file says.
bool run(const char* path) {
  std::ifstream file(path);
  if (!file) {
    std::cerr << path << ": cannot be read\n";
    return false;
  }
  Scenario scenario;
  bool good = true;
  unsigned number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    const auto arrow = line.find(" => ");
    if (arrow == line.npos) {
      std::cout << line << '\n';
      continue;
    }
    std::istringstream words(line.substr(0, arrow));
    Words step;
    for (std::string word; words >> word;) step.push_back(word);
    const std::string got = line.substr(0, arrow) + " => " + scenario.answer(step);
    std::cout << got << '\n';
    if (got != line) {
      std::cerr << path << ':' << number << ": expected '" << line << "', got '" << got << "'\n";
      good = false;
    }
  }
  return good && number > 0;
}

}  // namespace

int main(int argc, char** argv) {
  bool good = argc > 1;
  for (int i = 1; i < argc; ++i) good = run(argv[i]) && good;
  return good ? 0 : 1;
}
