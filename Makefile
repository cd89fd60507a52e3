# autobots: how everything is built, tested and installed.
#
# Non-recursive and out of tree: sources are found by folder, objects land in $(B)/$(MODE). The only recursion
# is a target that needs another mode (`check` wants debug and release) or a fresh look at installed packages.
# Nothing here installs packages except through deploy/deps.sh, and only for demo, check*, lint, fuzz and bench.

B      := build
MODE   := release
PREFIX := /usr/local
DESTDIR :=
V      :=
WERROR :=
FUZZ_SECONDS := 60

ifeq ($(origin CC),default)
CC := gcc
endif
AR         ?= ar
PYTHON     := /usr/bin/python3
PKG_CONFIG := pkg-config
O          := $(B)/$(MODE)

SHELL := /bin/bash
.SHELLFLAGS := -eu -c
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules
Q := $(if $(V),,@)
say = @$(if $(V),:,printf '  %-5s %s\n' '$(1)' '$(2)')

# ---- sources -----------------------------------------------------------------------------------------------
sources = $(sort $(if $(wildcard $(1)),$(shell find $(1) -name '*.c')))
objects = $(patsubst %.c,$(O)/obj/%.o,$(1))

COMMON  := $(call sources,common)
BROKER  := $(call sources,broker)
STORAGE := $(call sources,storage)
WORKER  := $(call sources,worker)
CLIENT  := $(call sources,client/lib)
CLI     := $(call sources,client/cli)
GATEWAY := $(call sources,client/gateway)
UNIT    := $(sort $(wildcard tests/unit/test_*.c))
TESTLIB := $(filter-out $(UNIT),$(sort $(wildcard tests/unit/*.c)))
BENCH   := $(sort $(wildcard tests/bench/bench_*.c))
PRINTER := $(wildcard tests/print_docs.c)
BENCHLIB := $(filter-out $(BENCH),$(sort $(wildcard tests/bench/*.c)))
FUZZ    := $(sort $(wildcard tests/fuzz/fuzz_*.c))
MAINS   := $(wildcard broker/main.c storage/main.c worker/main.c client/cli/main.c client/gateway/main.c)
PRODUCT := $(COMMON) $(BROKER) $(STORAGE) $(WORKER) $(CLIENT) $(CLI) $(GATEWAY)
EVERY   := $(PRODUCT) $(UNIT) $(TESTLIB) $(BENCH) $(BENCHLIB) $(FUZZ) $(PRINTER)
SCRIPTS := $(wildcard .ci/run deploy/*.sh tests/*.sh client/examples/*.sh)

# ---- flags -------------------------------------------------------------------------------------------------
MSGPACK  := $(shell $(PKG_CONFIG) --exists msgpack-c 2>/dev/null && echo msgpack-c || echo msgpack)
PACKAGES := libzmq libczmq sqlite3 $(MSGPACK) libcurl jansson yaml-0.1 libsodium libmicrohttpd libseccomp
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
PKG_LIBS   := $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null)
CMOCKA_LIBS  := $(shell $(PKG_CONFIG) --libs cmocka 2>/dev/null || echo -lcmocka)
HIREDIS_LIBS := $(shell $(PKG_CONFIG) --libs hiredis 2>/dev/null)

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wvla \
            -Wformat=2 $(if $(WERROR),-Werror)

# NDEBUG is never defined: what must hold is asserted in production too.
FLAGS_release := -O2 -g -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong
LINK_release  := -Wl,-z,relro,-z,now
FLAGS_debug   := -Og -g3 -DAB_FAILPOINTS=1
FLAGS_asan    := -O1 -g -DAB_FAILPOINTS=1 -fno-omit-frame-pointer -fsanitize=address,undefined \
                 -fno-sanitize-recover=undefined
LINK_asan     := -fsanitize=address,undefined
FLAGS_tsan    := -O1 -g -DAB_FAILPOINTS=1 -fno-omit-frame-pointer -fsanitize=thread
LINK_tsan     := -fsanitize=thread
FLAGS_fuzz    := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
                 -fno-sanitize-recover=undefined
LINK_fuzz     := -fsanitize=address,undefined
MODES := release debug asan tsan fuzz
$(if $(filter $(MODE),$(MODES)),,$(error MODE=$(MODE): choose one of $(MODES)))
ifeq ($(MODE),fuzz)
override CC := clang
endif

CFLAGS  ?=
LDFLAGS ?=
ALL_CFLAGS := -std=gnu11 -D_GNU_SOURCE -pthread -fPIE -I. $(FLAGS_$(MODE)) $(WARNINGS) $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS := -pthread -pie -Wl,--as-needed $(LINK_$(MODE)) $(LDFLAGS)
BUILD_ID := $(shell git describe --always --dirty 2>/dev/null)

# ---- what is built -----------------------------------------------------------------------------------------
LIBCOMMON := $(O)/lib/libcommon.a
LIBCLIENT := $(O)/lib/libautobots.a
LIBS_UNIT := $(O)/lib/libbroker.a $(O)/lib/libstorage.a $(O)/lib/libworker.a $(O)/lib/libcli.a $(O)/lib/libgateway.a $(LIBCLIENT) \
             $(LIBCOMMON)
LIBTEST   := $(if $(TESTLIB),$(O)/lib/libtest.a)

PROGRAMS := $(if $(wildcard broker/main.c),$(O)/bin/autobots-broker) \
            $(if $(wildcard storage/main.c),$(O)/bin/autobots-storage) \
            $(if $(wildcard worker/main.c),$(O)/bin/autobots-worker) \
            $(if $(wildcard client/gateway/main.c),$(O)/bin/autobots-gateway) \
            $(if $(wildcard client/cli/main.c),$(O)/bin/autobots)
UNIT_BINS  := $(patsubst tests/unit/%.c,$(O)/tests/unit/%,$(UNIT))
BENCH_BINS := $(patsubst tests/bench/%.c,$(O)/bench/%,$(BENCH))
FUZZ_BINS  := $(patsubst tests/fuzz/%.c,$(O)/fuzz/%,$(FUZZ))

# Uses every processor unless the caller said how many.
SUB = $(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

.PHONY: all debug asan tsan build tests help FORCE
all: ## build the programs and the library (MODE=release|debug|asan|tsan, B=build, V=1 shows commands)
	$(Q)$(SUB) MODE=$(MODE) build
debug asan tsan: ## build that mode
	$(Q)$(SUB) MODE=$@ build tests
build: $(PROGRAMS) $(LIBCLIENT) $(B)/compile_commands.json
tests: $(UNIT_BINS)
benches: $(BENCH_BINS)
fuzzers: $(FUZZ_BINS)
# Every source there is, also what no program uses yet; what needs hiredis only where that is.
objects: $(call objects,$(filter-out $(if $(HIREDIS_LIBS),,tests/bench/bench_redis.c),$(EVERY)))
.PHONY: benches fuzzers objects

$(O)/bin/autobots-broker:  $(O)/obj/broker/main.o $(O)/lib/libbroker.a $(LIBCOMMON)
$(O)/bin/autobots-storage: $(O)/obj/storage/main.o $(O)/lib/libstorage.a $(LIBCOMMON)
$(O)/bin/autobots-worker:  $(O)/obj/worker/main.o $(O)/lib/libworker.a $(LIBCOMMON)
$(O)/bin/autobots-gateway: $(O)/obj/client/gateway/main.o $(O)/lib/libgateway.a $(LIBCLIENT)
$(O)/bin/autobots:         $(O)/obj/client/cli/main.o $(O)/lib/libcli.a $(O)/lib/libgateway.a $(LIBCLIENT)
$(O)/bin/%:
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lm

# The public library carries the common objects it needs, so that one archive is enough to link against.
$(LIBCOMMON):            $(call objects,$(COMMON))
$(LIBCLIENT):            $(call objects,$(CLIENT) $(COMMON))
$(O)/lib/libbroker.a:    $(call objects,$(filter-out $(MAINS),$(BROKER)))
$(O)/lib/libstorage.a:   $(call objects,$(filter-out $(MAINS),$(STORAGE)))
$(O)/lib/libworker.a:    $(call objects,$(filter-out $(MAINS),$(WORKER)))
$(O)/lib/libcli.a:       $(call objects,$(filter-out $(MAINS),$(CLI)))
$(O)/lib/libgateway.a:   $(call objects,$(filter-out $(MAINS),$(GATEWAY)))
$(O)/lib/libtest.a:      $(call objects,$(TESTLIB))
$(O)/lib/%.a: $(O)/.sources
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D); rm -f $@
	$(Q)$(AR) rcs $@ $(filter %.o,$^)

$(O)/obj/%.o: %.c $(O)/.flags
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(EXTRA_CFLAGS) -MMD -MP -c -o $@ $<

$(O)/obj/common/version.o: EXTRA_CFLAGS = $(if $(BUILD_ID),-DAB_BUILD_ID='"$(BUILD_ID)"')
$(O)/obj/common/version.o: $(O)/.build_id
$(O)/obj/tests/%.o: EXTRA_CFLAGS = -Wno-unused-parameter

$(O)/tests/unit/%: $(O)/obj/tests/unit/%.o $(LIBTEST) $(LIBS_UNIT)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $< -Wl,--start-group $(LIBTEST) $(LIBS_UNIT) -Wl,--end-group $(CMOCKA_LIBS) $(PKG_LIBS) -lm

$(O)/bench/bench_redis: BENCH_LIBS = $(HIREDIS_LIBS)
$(O)/bench/bench_engine $(O)/bench/bench_exec: $(O)/lib/libworker.a $(LIBCOMMON)
$(O)/bench/%: $(O)/obj/tests/bench/%.o $(call objects,$(BENCHLIB)) $(LIBCLIENT)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(BENCH_LIBS) $(PKG_LIBS) -lm

$(O)/fuzz/%: $(O)/obj/tests/fuzz/%.o $(LIBS_UNIT)
	$(call say,LINK,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $< -Wl,--start-group $(LIBS_UNIT) -Wl,--end-group $(PKG_LIBS) -lm

$(O)/print_docs: $(O)/obj/tests/print_docs.o $(LIBCOMMON)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lm

# A stamp changes only when its text does: other flags, a removed source or a new commit rebuild what they touch.
stamp = @mkdir -p $(@D); printf '%s\n' '$(1)' | cmp -s - $@ || printf '%s\n' '$(1)' >$@
$(O)/.flags: FORCE
	@$(PKG_CONFIG) --exists $(PACKAGES) || { \
	    echo "a library is missing ($(PACKAGES)); run: deploy/deps.sh build" >&2; exit 1; }
	$(call stamp,$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))
$(O)/.sources: FORCE
	$(call stamp,$(EVERY))
$(O)/.build_id: FORCE
	$(call stamp,$(BUILD_ID))

comma := ,
entry = {"directory":"$(CURDIR)","file":"$(1)","command":"$(CC) $(ALL_CFLAGS) -c $(1)"}
empty :=
space := $(empty) $(empty)
$(B)/compile_commands.json: $(O)/.sources $(O)/.flags
	$(file >$@,[$(subst }$(space){,}$(comma){,$(foreach s,$(EVERY),$(call entry,$(s))))])

-include $(patsubst %.c,$(O)/obj/%.d,$(EVERY))

# ---- running -----------------------------------------------------------------------------------------------
RUN_TESTS = $(PYTHON) tests/run.py --build '$(B)'

PYTHON_SDK = openai
.PHONY: demo check check-python-sdk check-asan check-tsan fuzz bench lint docs format
demo: ## build and run the example chat, offline; MODEL=… OPENAI_API_KEY=… for a real model
	$(Q)deploy/deps.sh build
	$(Q)deploy/deps.sh sandbox || echo "demo: goes on without; code is not run then" >&2
	$(Q)$(SUB) MODE=release build
	$(Q)$(B)/release/bin/autobots demo

check: ## all tests on the debug build; ends with `N passed, N failed`
	$(Q)deploy/deps.sh build test page browser
	$(Q)$(SUB) MODE=release build
	$(Q)$(SUB) MODE=debug build tests
	$(Q)$(RUN_TESTS) --mode debug $(UNIT) tests/integration tests/faults tests/store tests/browser tests/sim

# Not part of check: PyPI's package changes by itself, and npm's is tested there with the same cases.
check-python-sdk: ## /v1 with the openai package of PyPI, installed into BUILD/python-sdk; PYTHON_SDK=openai==X for another version
	$(Q)deploy/deps.sh build test
	$(Q)$(SUB) MODE=debug build
	$(Q)[ -x $(B)/python-sdk/bin/python ] || $(PYTHON) -m venv $(B)/python-sdk
	$(Q)$(B)/python-sdk/bin/pip install --quiet --disable-pip-version-check '$(PYTHON_SDK)'
	$(Q)OPENAI_SDK_PYTHON=$(abspath $(B))/python-sdk/bin/python AUTOBOTS_BIN=$(abspath $(B))/debug/bin \
	    AUTOBOTS_BUILD=$(abspath $(B))/debug $(PYTHON) -m pytest -q tests/integration/test_openai_sdk.py

check-asan: ## all tests with the address and undefined-behaviour sanitizers
	$(Q)deploy/deps.sh build test page browser
	$(Q)$(SUB) MODE=release build
	$(Q)$(SUB) MODE=asan build tests
	$(Q)$(RUN_TESTS) --mode asan $(UNIT) tests/integration tests/faults tests/store tests/browser tests/sim

check-tsan: ## unit and store tests with the thread sanitizer
	$(Q)deploy/deps.sh build test
	$(Q)$(SUB) MODE=release build
	$(Q)$(SUB) MODE=tsan build tests
	$(Q)$(RUN_TESTS) --mode tsan $(UNIT) tests/store

fuzz: ## every fuzz harness for FUZZ_SECONDS=60
	$(Q)deploy/deps.sh build test
	$(Q)$(if $(FUZZ),,echo 'fuzz: there is no tests/fuzz/fuzz_*.c' >&2; exit 1)
	$(Q)$(SUB) MODE=fuzz fuzzers
	$(Q)for f in $(FUZZ); do n=$$(basename $$f .c); mkdir -p $(B)/fuzz/corpus/$$n; \
	    seeds=tests/fuzz/seeds/$$n; [ -d $$seeds ] || seeds=; \
	    echo "  FUZZ  $$n"; \
	    $(B)/fuzz/fuzz/$$n -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 \
	        -artifact_prefix=$(B)/fuzz/$$n- $(B)/fuzz/corpus/$$n $$seeds; done

bench: ## the benchmarks, beside redis on the same machine
	$(Q)deploy/deps.sh build test bench
	$(Q)$(if $(BENCH),,echo 'bench: there is no tests/bench/bench_*.c' >&2; exit 1)
	$(Q)$(SUB) MODE=release build benches
	$(Q)if [ -f tests/bench/run.py ]; then $(PYTHON) tests/bench/run.py --build $(B)/release; \
	    else for b in $(BENCH_BINS); do $$b; done; fi

lint: ## layering, banned functions, format, cppcheck, -Werror with gcc and clang, and more
	$(Q)deploy/deps.sh build test
	$(Q)$(SUB) MODE=release build
	$(Q)$(SUB) MODE=debug $(B)/debug/print_docs
	$(Q)MAKE='$(MAKE)' B='$(B)' tests/lint.sh

docs: ## write the generated part of common/README.md, the protocol's tables
	$(Q)$(SUB) MODE=debug $(B)/debug/print_docs
	$(Q)sed '/^<!-- generated by `make docs`/q' common/README.md >$(B)/protocol.md
	$(Q)$(B)/debug/print_docs >>$(B)/protocol.md
	$(Q)cp $(B)/protocol.md common/README.md

FORMATTED = $(shell find common broker storage worker client tests \( -name '*.c' -o -name '*.h' \) 2>/dev/null)
format: ## clang-format on all C sources
	$(Q)clang-format -i $(FORMATTED)

# ---- installing --------------------------------------------------------------------------------------------
.PHONY: install clean
DEST = $(DESTDIR)$(PREFIX)
EXAMPLES = $(wildcard client/examples/*.yaml client/examples/*.json client/examples/*.py client/examples/*.md)
SERVICES = $(wildcard deploy/*.service deploy/*.socket deploy/*.target)
install: ## install to $(DESTDIR)$(PREFIX): DESTDIR=, PREFIX=/usr/local
	$(Q)$(SUB) MODE=release build
	$(Q)install -d $(DEST)/bin $(DEST)/include $(DEST)/lib $(DEST)/share/autobots/examples
	$(Q)install -m 755 $(patsubst $(O)/%,$(B)/release/%,$(PROGRAMS)) $(DEST)/bin/
	$(Q)$(if $(wildcard client/autobots.h),install -m 644 client/autobots.h $(DEST)/include/)
	$(Q)install -m 644 $(B)/release/lib/libautobots.a $(DEST)/lib/
	$(Q)$(if $(EXAMPLES),install -m 644 $(EXAMPLES) $(DEST)/share/autobots/examples/)
	$(Q)install -m 755 $(wildcard client/examples/*.sh) $(DEST)/share/autobots/examples/
	$(Q)$(if $(SERVICES),install -d $(DEST)/lib/systemd/system && install -m 644 $(SERVICES) $(DEST)/lib/systemd/system/)

clean: ## remove what was built
	$(Q)rm -rf $(addprefix $(B)/,$(MODES) lint compile_commands.json)

help: ## this list
	@grep -hE '^[a-z][a-z -]*:.*## ' $(firstword $(MAKEFILE_LIST)) | sed 's/:.*## /\t/' | \
	    while IFS=$$'\t' read -r name text; do printf '  make %-18s %s\n' "$$name" "$$text"; done
