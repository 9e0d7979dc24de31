# Builds and installs libqyun and the `qyun` command. Needs cargo, and for the tests cmake and a C
# and C++ compiler.
#
#   make demo                     builds all, starts a server and runs the C++ latency test against it
#   make check                    runs all tests; installs what they need
#   make bench                    measures the server beside a bare epoll loop and other systems
#   make bench-curves             how the cost of a delivery scales
#   make bench-instructions       counts the instructions of the hot path, against the committed ones
#   make                          build
#   make install PREFIX=/usr/local DESTDIR=
#   make uninstall PREFIX=/usr/local DESTDIR=
#   make native-check             the tests in C, against a staged installation in stage/
#   make native-memcheck          those of them that run under valgrind
#   make cpp-check                the tests in C++
#   make python-check             the tests in Python
#   make readme-check             the README's commands and programs
#   make peers-check              foreign clients against the server
#   make chaos CHAOS=10000        so many random disconnections; every client's log is judged (root)
#   make guarantees-check         that every sentence of GUARANTEES.md names a test that exists
#   make fuzz                     the fuzz targets, ten seconds each (FUZZ="--seconds N --target T")
#   make sanitize                 Miri and ThreadSanitizer, where the machine has what they need
#   make clean

PREFIX     ?= /usr/local
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR     ?= $(PREFIX)/bin
UNITDIR    ?= $(PREFIX)/lib/systemd/system
DESTDIR    ?=
# release or debug
PROFILE    ?= release

CARGO   ?= cargo
INSTALL ?= install

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SONAME  := libqyun.so.0
SHARED  := libqyun.so.$(VERSION)
OUT     := $(or $(CARGO_TARGET_DIR),target)/$(PROFILE)
STAGE   := $(abspath stage)

# What a static link of libqyun.a needs beside it.
STATIC_LIBS := -lutil -lrt -lpthread -lm -ldl

SUBSTITUTE = sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@BINDIR@|$(BINDIR)|g' -e 's|@LIBDIR@|$(LIBDIR)|g' \
	-e 's|@INCLUDEDIR@|$(INCLUDEDIR)|g' -e 's|@VERSION@|$(VERSION)|g' \
	-e 's|@SONAME@|$(SONAME)|g' -e 's|@SHARED@|$(SHARED)|g' \
	-e 's|@STATIC_LIBS@|$(STATIC_LIBS)|g'

VENV    := $(abspath target/venv)

.PHONY: all demo check bench bench-curves bench-instructions install uninstall stage native-check native-memcheck cpp-check \
	python-check readme-check peers-check chaos guarantees-check fuzz sanitize venv clean

all:
	$(CARGO) build --locked $(if $(filter release,$(PROFILE)),--release)

# What is not built yet is built; what is built is not built again, so that `sudo make install`
# needs no cargo.
$(OUT)/qyun:
	$(MAKE) --no-print-directory all

install: $(OUT)/qyun
	$(INSTALL) -d $(addprefix $(DESTDIR),$(BINDIR) $(INCLUDEDIR) $(LIBDIR)/pkgconfig $(LIBDIR)/cmake/qyun \
		$(UNITDIR))
	$(INSTALL) -m 755 $(OUT)/qyun $(DESTDIR)$(BINDIR)/qyun
	$(INSTALL) -m 644 include/qyun.h $(DESTDIR)$(INCLUDEDIR)/qyun.h
	$(INSTALL) -m 644 bindings/cpp/*.hpp $(DESTDIR)$(INCLUDEDIR)/
	$(INSTALL) -m 755 $(OUT)/libqyun.so $(DESTDIR)$(LIBDIR)/$(SHARED)
	ln -sf $(SHARED) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libqyun.so
	$(INSTALL) -m 644 $(OUT)/libqyun.a $(DESTDIR)$(LIBDIR)/libqyun.a
	$(SUBSTITUTE) packaging/qyun.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/qyun.pc
	$(SUBSTITUTE) packaging/cmake/qyunConfig.cmake.in > $(DESTDIR)$(LIBDIR)/cmake/qyun/qyunConfig.cmake
	$(SUBSTITUTE) packaging/cmake/qyunConfigVersion.cmake.in \
		> $(DESTDIR)$(LIBDIR)/cmake/qyun/qyunConfigVersion.cmake
	$(SUBSTITUTE) packaging/qyun.service.in > $(DESTDIR)$(UNITDIR)/qyun.service
	$(INSTALL) -m 644 packaging/qyun.socket $(DESTDIR)$(UNITDIR)/qyun.socket

uninstall:
	$(RM) $(DESTDIR)$(BINDIR)/qyun $(addprefix $(DESTDIR)$(UNITDIR)/,qyun.service qyun.socket) \
		$(addprefix $(DESTDIR)$(INCLUDEDIR)/,qyun.h $(notdir $(wildcard bindings/cpp/*.hpp)))
	$(RM) $(addprefix $(DESTDIR)$(LIBDIR)/,$(SHARED) $(SONAME) libqyun.so libqyun.a pkgconfig/qyun.pc)
	$(RM) -r $(DESTDIR)$(LIBDIR)/cmake/qyun

# An installation of this source tree for its own tests.
stage: all
	$(MAKE) --no-print-directory install PREFIX=$(STAGE) LIBDIR=$(STAGE)/lib INCLUDEDIR=$(STAGE)/include \
		BINDIR=$(STAGE)/bin UNITDIR=$(STAGE)/lib/systemd/system DESTDIR=

native-check: stage
	cmake -S tests/native -B $(OUT)/native -DCMAKE_PREFIX_PATH=$(STAGE) -DCMAKE_BUILD_TYPE=Debug
	cmake --build $(OUT)/native
	ctest --test-dir $(OUT)/native --output-on-failure -LE valgrind

native-memcheck: native-check
	ctest --test-dir $(OUT)/native --output-on-failure -L valgrind

cpp-check: stage
	cmake -S tests/native/cpp -B $(OUT)/native-cpp -DQYUN_LIBRARY=$(STAGE)/lib/libqyun.so \
		-DCMAKE_BUILD_TYPE=Debug
	cmake --build $(OUT)/native-cpp
	ctest --test-dir $(OUT)/native-cpp --output-on-failure

# The package installed as a user would, with the library that is staged already.
venv: stage
	python3 -m venv $(VENV)
	QYUN_LIBRARY=$(STAGE)/lib/libqyun.so $(VENV)/bin/pip install --quiet --disable-pip-version-check \
		--force-reinstall './bindings/python[test]'

python-check: venv
	cd bindings/python && $(VENV)/bin/mypy
	cd bindings/python && env -u QYUN_LIBRARY $(VENV)/bin/python -m pytest

readme-check: venv
	$(VENV)/bin/python tests/readme/check.py --qyun $(STAGE)/bin/qyun --prefix $(STAGE)

peers-check: stage
	QYUN_BIN=$(STAGE)/bin/qyun tests/peers/run.sh

# Clients and servers killed and links cut, 200 times; `make chaos CHAOS=10000` for more.
chaos: stage
	CHAOS=$(CHAOS) QYUN_BIN=$(STAGE)/bin/qyun python3 -m unittest discover --start-directory tests/chaos

guarantees-check:
	python3 -m unittest discover --quiet --start-directory tests/guarantees
	python3 tests/guarantees/check.py

fuzz:
	fuzz/run.py $(FUZZ)

sanitize:
	.ci/sanitize

demo:
	.ci/setup build
	$(MAKE) --no-print-directory stage
	examples/demo.sh $(STAGE)

check:
	.ci/check

bench:
	.ci/setup bench
	$(MAKE) --no-print-directory stage
	python3 benches/run.py --prefix $(STAGE) $(BENCH)

bench-curves:
	.ci/setup bench
	python3 benches/curves.py $(BENCH)

bench-instructions:
	.ci/setup bench
	python3 benches/instructions.py $(BENCH)

clean:
	$(CARGO) clean
	$(RM) -r fuzz/target fuzz/corpus
	$(RM) -r $(STAGE)
