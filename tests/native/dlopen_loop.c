/* A host that loads the library, uses it and unloads it, again and again. Linked without it. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define LOAD(name) *(void **)&name = symbol(library, #name)

static void *symbol(void *library, const char *name) {
  void *found = dlsym(library, name);
  if (!found) {
    fprintf(stderr, "%s: %s\n", name, dlerror());
    exit(1);
  }
  return found;
}

static void check(int32_t status, const char *what) {
  if (status != 0) {
    fprintf(stderr, "%s returned %d\n", what, (int)status);
    exit(1);
  }
}

int main(int argc, char **argv) {
  int32_t (*qy_options_new)(int32_t, void **);
  int32_t (*qy_options_set)(void *, const char *, const char *);
  void (*qy_options_free)(void *);
  int32_t (*qy_server_start)(const void *, void **);
  int32_t (*qy_server_create_channel)(void *, const char *);
  int32_t (*qy_shutdown)(uint32_t);
  void (*qy_server_free)(void *);
  int count = argc > 2 ? atoi(argv[2]) : 50;
  for (int i = 0; i < count; i++) {
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    void *options = NULL, *server = NULL;
    if (!library) {
      fprintf(stderr, "%s\n", dlerror());
      return 1;
    }
    LOAD(qy_options_new);
    LOAD(qy_options_set);
    LOAD(qy_options_free);
    LOAD(qy_server_start);
    LOAD(qy_server_create_channel);
    LOAD(qy_shutdown);
    LOAD(qy_server_free);
    check(qy_options_new(1, &options), "qy_options_new");
    check(qy_options_set(options, "listen", "127.0.0.1:0"), "qy_options_set");
    check(qy_server_start(options, &server), "qy_server_start");
    check(qy_server_create_channel(server, "test"), "qy_server_create_channel");
    check(qy_shutdown(5000), "qy_shutdown");
    qy_server_free(server);
    qy_options_free(options);
    if (dlclose(library) != 0) return 1;
  }
  return 0;
}
