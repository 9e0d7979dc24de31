/* Header, library and Cargo.toml agree on the version; a header of another ABI is refused. */
#include "kit.h"

int main(void) {
  char text[64];
  snprintf(text, sizeof text, "%d.%d.%d", QY_VERSION_MAJOR, QY_VERSION_MINOR, QY_VERSION_PATCH);
  CHECK(strcmp(text, QY_VERSION) == 0);
  CHECK(strcmp(text, qy_version()) == 0);
  CHECK(strcmp(text, CARGO_VERSION) == 0);
  CHECK(qy_abi_version() == QY_ABI_VERSION);
  CHECK_OK(qy_abi_check(QY_ABI_VERSION));
  CHECK_STATUS(qy_abi_check(QY_ABI_VERSION + 1), QY_ERR_ABI_MISMATCH);
  check_error("the installed library");
  CHECK_STATUS(qy_abi_check(0), QY_ERR_ABI_MISMATCH);
  CHECK(thread_count() == 1);
  return 0;
}
