/* Starts a server and runs a program with its address as the last argument: with_server PROGRAM ARGS.
   The program's exit code is this one's. */
#include "kit.h"

int main(int argc, char **argv) {
  char host[64];
  char **arguments = calloc((size_t)argc + 1, sizeof *arguments);
  int status = -1;
  CHECK(argc > 1);
  qy_server *server = server_new(host);
  for (int i = 1; i < argc; i++) arguments[i - 1] = argv[i];
  arguments[argc - 1] = host;
  pid_t child = fork();
  if (child == 0) {
    execv(arguments[0], arguments);
    _exit(127);
  }
  CHECK(waitpid(child, &status, 0) == child);
  qy_server_free(server);
  free(arguments);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
