#!/bin/sh
# The header compiles alone and twice, in every language version, with every compiler there is,
# without a warning.
# usage: header_matrix.sh INCLUDEDIR
set -eu
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
printf '#include <qyun.h>\n' > "$folder/once.c"
printf '#include <qyun.h>\n#include <qyun.h>\nint use(qy_server *s) { return (int)qy_server_stop(s, 0); }\n' > "$folder/twice.c"
cp "$folder/once.c" "$folder/once.cpp"
cp "$folder/twice.c" "$folder/twice.cpp"
compiled=0
check() { # compiler standard file
  command -v "$1" > /dev/null || return 0
  "$1" "-std=$2" -Wall -Wextra -Wpedantic -Werror -I"$INCLUDEDIR" -c "$folder/$3" -o "$folder/out.o"
  compiled=$((compiled + 1))
}
INCLUDEDIR=$1
for times in once twice; do
  for standard in c99 c11 c17; do
    check gcc $standard $times.c
    check clang $standard $times.c
  done
  for standard in c++11 c++17 c++20; do
    check g++ $standard $times.cpp
    check clang++ $standard $times.cpp
  done
done
# A compiler of C and one of C++ at the least.
[ $compiled -ge 12 ] || { echo "only $compiled compilations"; exit 1; }
