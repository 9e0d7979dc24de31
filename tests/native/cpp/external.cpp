// Runs the latency test, given as the arguments, against a server in another process: this one.

#include "check.hpp"
#include "qyun.hpp"

#include <sys/wait.h>

#include <iostream>

int main(int argc, char** argv) {
  const auto server = qyun::server::start({{"listen", "127.0.0.1:0"}});
  server.create_channel("test");  // it exists already, which is fine
  std::string command;
  for (int i = 1; i < argc; ++i) command += "'" + std::string(argv[i]) + "' ";
  const int status = std::system((command + server.address()).c_str());
  CHECK(WIFEXITED(status));
  CHECK(server.counters().published > 0 || WEXITSTATUS(status) != 0);
  return WEXITSTATUS(status);
}
