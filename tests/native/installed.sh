#!/bin/sh
# From an installed prefix, outside the source tree, a program builds and runs with plain flags, with
# pkg-config, with the static archive, all static, and with CMake.
# usage: installed.sh PREFIX EXAMPLE.c WITH_SERVER CC
set -eu
prefix=$1 source=$2 with_server=$3 compiler=$4
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
cd "$folder"
cp "$source" program.c
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib"
unset CPATH LIBRARY_PATH
run() {
  echo "== $1"
  "$with_server" "$folder/$2"
}

$compiler program.c -I"$prefix/include" -L"$prefix/lib" -lqyun -o plain
run 'plain -lqyun' plain
$compiler program.c $(pkg-config --cflags --libs qyun) -o pkgconfig
run 'pkg-config' pkgconfig

$compiler program.c $(pkg-config --cflags qyun) "$prefix/lib/libqyun.a" \
  $(pkg-config --libs-only-l --static qyun | sed 's/-lqyun//') -o archive
ldd archive | grep libqyun && exit 1
run 'static archive' archive
# glibc says that getaddrinfo wants the shared libraries of the same glibc: true, and no matter here.
$compiler -static program.c $(pkg-config --static --cflags --libs qyun) -o static 2> static.log ||
  { cat static.log; exit 1; }
run 'all static' static

cat > CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.16)
project(outside C)
find_package(qyun 0.1 REQUIRED)
add_executable(shared program.c)
target_link_libraries(shared PRIVATE qyun::qyun)
add_executable(archived program.c)
target_link_libraries(archived PRIVATE qyun::static)
CMAKE
cmake -S . -B build -DCMAKE_PREFIX_PATH="$prefix" > cmake.log && cmake --build build >> cmake.log ||
  { cat cmake.log; exit 1; }
run 'CMake shared' build/shared
run 'CMake static' build/archived
sed 's/qyun 0.1/qyun 9.0/' CMakeLists.txt > other && mkdir newer && mv other newer/CMakeLists.txt
cp program.c newer/
if cmake -S newer -B newer/build -DCMAKE_PREFIX_PATH="$prefix" > /dev/null 2>&1; then
  echo 'CMake took this version for 9.0'
  exit 1
fi
[ "$(pkg-config --modversion qyun)" = "$(sed -n 's/^#define QY_VERSION "\(.*\)"/\1/p' "$prefix/include/qyun.h")" ]
