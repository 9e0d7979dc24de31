// One program with both kinds of source file: this one throws, two_builds_other.cpp does not.

#include "check.hpp"
#include "qyun.hpp"

qy_status code_without_exceptions();

TEST(both_kinds_link_into_one_program) {
  CHECK(code_without_exceptions() == QY_ERR_INVALID_OPTION);
  qy_status code = QY_OK;
  try {
    (void)qyun::server::start({{"shards", "many"}});
  } catch (const qyun::error& error) {
    code = error.code();
  }
  CHECK(code == QY_ERR_INVALID_OPTION);
}

int main() { return check::run_all(); }
