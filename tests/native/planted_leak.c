/* A handle that is not freed: valgrind must say so. */
#include <qyun.h>

int main(void) {
  qy_options *options = NULL;
  qy_status status = qy_options_new(QY_OPTIONS_SERVER, &options);
  options = NULL;
  return status != QY_OK || options != NULL;
}
