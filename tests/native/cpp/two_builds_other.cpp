// The half of two_builds.cpp that is built without exceptions.

#include "qyun.hpp"

qy_status code_without_exceptions() {
  return qyun::server::start({{"shards", "many"}}).code();
}
