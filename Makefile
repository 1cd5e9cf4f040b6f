# Makefile of fcpull. `make help` lists the targets, V=1 shows the commands.
#
# One set of sources is built in several variants, each into build/VARIANT/:
#
#   musl    the product ./fcpull: static-pie against the musl of vendor/, stripped
#   asan    by gcc with the address and undefined-behaviour sanitizers, host C library
#   tsan    by gcc with the thread sanitizer
#   fuzz    by clang for libFuzzer
#
# `make ARCH=aarch64` builds the product for another machine: ./fcpull-aarch64, in build/musl-aarch64.
#
# The libraries come from vendor/build, which builds them at their first use.
#
# SPDX-License-Identifier: Apache-2.0

VERSION = 0.1.0
DATE = 2026-11-28# of the version; the manual pages carry it

PREFIX = /usr/local
DESTDIR =
BINDIR = $(PREFIX)/bin
SBINDIR = $(PREFIX)/sbin
MANDIR = $(PREFIX)/share/man
BASHDIR = $(PREFIX)/share/bash-completion/completions
ZSHDIR = $(PREFIX)/share/zsh/site-functions
FISHDIR = $(PREFIX)/share/fish/vendor_completions.d

comma := ,

# Another machine than this one: its GNU cross compiler, and names of its own for what is built.
ARCH =
cross := $(filter-out $(shell uname -m),$(ARCH))
musl := musl$(cross:%=-%)
product := fcpull$(cross:%=-%)

CROSS_COMPILE = $(cross:%=%-linux-gnu-)
HOSTCC = gcc
CLANG = clang

# Parsers of untrusted bytes, where a silent conversion is a bug.
PARSERS = lib/tar%.c lib/index%.c lib/json.c lib/ref.c lib/url.c lib/fuse%.c lib/erofs.c lib/erofsxattr.c lib/trace.c lib/notify.c

root_src := $(sort $(wildcard *.c))
lib_src := $(sort $(wildcard lib/*.c))
sources := $(root_src) $(lib_src)
analysed := $(sources) $(sort $(wildcard bench/*.c))
unit := $(patsubst test/unit/%.c,%,$(sort $(wildcard test/unit/test_*.c)))
fuzzers := $(patsubst test/fuzz/fuzz_%.c,%,$(sort $(wildcard test/fuzz/fuzz_*.c)))

# Where the libraries are; each is asked for once, when a recipe first needs it.
vendor = $(or $(shell CROSS_COMPILE=$(CROSS_COMPILE) vendor/build $1),$(error no libraries to build with))
MUSL = $(eval MUSL := $$(call vendor,musl))$(MUSL)
HOST = $(eval HOST := $$(call vendor,host))$(HOST)
LIBS = -lcurl -lmicrohttpd -lmbedtls -lmbedx509 -lmbedcrypto -lzstd -llz4 -lisal -lz -lyyjson

# Stray search paths in the environment must not reach the compilers.
unexport CPATH C_INCLUDE_PATH LIBRARY_PATH

warnings = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 \
	$(if $(filter $(PARSERS),$<),-Wconversion)
common = -std=gnu11 -D_GNU_SOURCE -DFCPULL_VERSION='"$(VERSION)"' -DFCPULL_DATE='"$(DATE)"' -I. -Ilib \
	-DYYJSON_DISABLE_UTILS=1 -DYYJSON_DISABLE_NON_STANDARD=1 -ffile-prefix-map=$(CURDIR)=.
host = $(common) -isystem $(HOST)/include -g -O1 -fno-omit-frame-pointer

# What every byte of an image, every read of a mount or every entry of a tree passes through is compiled for speed, all
# other code of ours for size: 98 KB less.
HOT = $(addprefix lib/,ahead% base.c blob.c cutter% entry% erofs% feed% flatten% fuse% gunzip% hash% index% inflate% ingest% intake% journal% lazy% \
	pack% reader% sender% stream% tar% tree% walk% xfer%)

cc_$(musl) = $(MUSL)/bin/cc
# Nothing unwinds a stack in the product; the tables for it would be 160 KB.
cflags_$(musl) = $(common) $(if $(filter $(HOT),$<),-O2,-Os) -fstack-protector-strong -ffunction-sections -fdata-sections \
	-fno-asynchronous-unwind-tables -fno-unwind-tables \
	-ffile-prefix-map=$(MUSL)=/vendor $(CFLAGS)
# musl takes the size of its threads' stacks from the program header: its default is 128 KiB
relr := $(if $(filter x86_64-%,$(shell $(CROSS_COMPILE)$(HOSTCC) -dumpmachine)),$(comma)-z$(comma)pack-relative-relocs)
ldflags_$(musl) = -s -Wl,-z,relro,-z,now,-z,noexecstack,-z,stack-size=1048576$(relr) -Wl,--gc-sections $(LDFLAGS)

cc_asan = $(HOSTCC)
cflags_asan = $(host) -fsanitize=address,undefined -fno-sanitize-recover=undefined
ldflags_asan = -fsanitize=address,undefined -L$(HOST)/lib

cc_tsan = $(HOSTCC)
cflags_tsan = $(host) -fsanitize=thread
ldflags_tsan = -fsanitize=thread -L$(HOST)/lib

cc_fuzz = $(CLANG)
cflags_fuzz = $(host) -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
ldflags_fuzz = -fsanitize=fuzzer,address,undefined -L$(HOST)/lib

Q = $(if $(filter-out 0,$(V)),,@)
say = $(if $(Q),@printf '  %-7s %s\n' '$1' '$2')

# A target that is remade each time, but new only when its content is.
replace = if cmp -s $$@.new $$@; then rm $$@.new; else mv $$@.new $$@; fi

.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:

all: $(product) ## build ./fcpull (this is the default); with ARCH=aarch64 ./fcpull-aarch64

$(product): build/$(musl)/fcpull
	$(Q)cp -f $< $@

# What every variant does: flags -> objects -> lib archive and program. The archive lets
# a unit test that includes one lib/*.c take all the others from it.
define variant
build/$1/flags: FORCE
	$$(shell mkdir -p $$(@D))$$(file >$$@.new,$$(cc_$1) $$(warnings) $$(cflags_$1) $$(ldflags_$1) $$(LIBS))
	@$(replace)

build/$1/sources: FORCE
	$$(shell mkdir -p $$(@D))$$(file >$$@.new,$(sources))
	@$(replace)

build/$1/%.o: %.c build/$1/flags
	$$(call say,CC,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(cc_$1) $$(warnings) $$(cflags_$1) -MMD -MP -c -o $$@ $$<

build/$1/libfcpull.a: $(lib_src:%.c=build/$1/%.o) build/$1/sources
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && $(CROSS_COMPILE)ar rcsD $$@ $$(filter %.o,$$^)

build/$1/fcpull: $(sources:%.c=build/$1/%.o) build/$1/sources
	$$(call say,LD,$$@)
	$$(Q)$$(cc_$1) $$(ldflags_$1) -o $$@ $$(filter %.o,$$^) $$(LIBS)

-include $(sources:%.c=build/$1/%.d)
endef
$(foreach v,$(musl) asan tsan fuzz,$(eval $(call variant,$v)))

# test/run runs the unit tests and the replayers too.
programs = $(unit:%=build/asan/%) $(fuzzers:%=build/asan/replay_%)

check: fcpull analyze-quick $(programs) ## all tests of ./fcpull, unit tests, fuzz corpora, quick analysis
	$(Q)FCPULL=$(CURDIR)/fcpull test/run

check-asan: build/asan/fcpull $(programs) ## the tests with the address and undefined-behaviour sanitizers
	$(Q)FCPULL=$(CURDIR)/$< test/run

# Without randomised addresses: gcc's tsan runtime may not know a newer kernel's layout.
check-tsan: build/tsan/fcpull $(programs) ## the tests with the thread sanitizer
	$(Q)FCPULL=$(CURDIR)/$< setarch -R test/run

demo: fcpull ## show what fcpull does, on a registry of its own
	$(Q)FCPULL=$(CURDIR)/fcpull sh test/demo

bench: fcpull ## measure
	$(Q)FCPULL=$(CURDIR)/fcpull bench/run

unit: $(unit:%=build/asan/%) ## unit tests, with sanitizers
	$(Q)set -e; for t in $^; do ./$$t; done

$(unit:%=build/asan/%): build/asan/%: build/asan/test/unit/%.o build/asan/libfcpull.a
	$(call say,LD,$@)
	$(Q)$(cc_asan) $(ldflags_asan) -o $@ $^ $(LIBS)

# What test/erofs.test mounts with: as the product is built.
build/$(musl)/erofsrun: build/$(musl)/test/unit/erofsrun.o build/$(musl)/libfcpull.a
	$(call say,LD,$@)
	$(Q)$(cc_$(musl)) $(ldflags_$(musl)) -o $@ $^ $(LIBS)

# As the product is built; test/aarch64.test runs those of another machine.
$(unit:%=build/$(musl)/%): build/$(musl)/%: build/$(musl)/test/unit/%.o build/$(musl)/libfcpull.a
	$(call say,LD,$@)
	$(Q)$(cc_$(musl)) $(ldflags_$(musl)) -o $@ $^ $(LIBS)

# e.g. setarch -R build/tsan/test_lazyboot
$(unit:%=build/tsan/%): build/tsan/%: build/tsan/test/unit/%.o build/tsan/libfcpull.a
	$(call say,LD,$@)
	$(Q)$(cc_tsan) $(ldflags_tsan) -o $@ $^ $(LIBS)

fuzz: $(fuzzers:%=build/fuzz/fuzz_%) ## fuzz every parser for a while (needs clang)
	$(Q)CC=$(CLANG) test/fuzz/run

$(fuzzers:%=build/fuzz/fuzz_%): build/fuzz/%: build/fuzz/test/fuzz/%.o build/fuzz/libfcpull.a
	$(call say,LD,$@)
	$(Q)$(cc_fuzz) $(ldflags_fuzz) -o $@ $^ $(LIBS)

fuzz-replay: $(fuzzers:%=build/asan/replay_%) ## run the fuzz targets over their kept corpora
	$(Q)set -e; for t in $(fuzzers); do \
		build/asan/replay_$$t $$(find test/fuzz/corpus/$$t -type f 2>/dev/null | sort); done

$(fuzzers:%=build/asan/replay_%): build/asan/replay_%: build/asan/test/fuzz/fuzz_%.o \
		build/asan/test/fuzz/replay_main.o build/asan/libfcpull.a
	$(call say,LD,$@)
	$(Q)$(cc_asan) $(ldflags_asan) -o $@ $^ $(LIBS)

-include $(wildcard build/*/test/*/*.d)

# Zero warnings by both compilers; gcc with the optimiser on, as some need its data flow.
analyze-quick: banned format-check $(analysed:%=build/analyze/%.gcc) ## banned functions; warnings of gcc and clang as errors
ifneq ($(shell command -v $(CLANG)),)
analyze-quick: $(analysed:%=build/analyze/%.clang)
else
analyze-quick: no-clang
endif

build/analyze/%.c.gcc: %.c build/asan/flags
	$(call say,CHECK,gcc $<)
	@mkdir -p $(@D)
	$(Q)$(HOSTCC) $(warnings) -Werror $(host) -O2 -MMD -MP -MF $@.d -MT $@ -c -o $@ $<

build/analyze/%.c.clang: %.c build/asan/flags
	$(call say,CHECK,clang $<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(warnings) -Werror $(host) -MMD -MP -MF $@.d -MT $@ -c -o $@ $<

-include $(wildcard build/analyze/*.d build/analyze/*/*.d)

no-clang:
	@echo 'analyze: skipped clang, it is not installed' >&2

banned:
	$(Q)! grep -nE '\<(sprintf|strcpy|strcat|strtok|atoi|alloca|system)\(' $(analysed)

formatted := $(analysed) $(wildcard *.h lib/*.h test/unit/*.[ch] test/fuzz/*.c)

# Only by the version that .clang-format was written for: others break lines elsewhere.
format-check:
	$(Q)if clang-format --version 2>/dev/null | grep -q ' 14\.'; then \
		clang-format --dry-run -Werror $(formatted); \
	else echo 'SKIP: clang-format 14 is not here: formatting is not checked' >&2; fi

format: ## format all C files
	$(Q)clang-format -i $(formatted)

# Left out: the C library's Annex K (memcpy_s), which none here has; neighbours of one type; conversions to a narrower type, which
# gcc's -Wconversion finds in the parsers, and to a wider one of products of constants; strcmp() and an assignment as conditions,
# and arrays of pointers, which are this house's style.
tidy_checks = -*,clang-analyzer-*,-clang-analyzer-security.insecureAPI.Deprecated*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-narrowing-conversions,-bugprone-assignment-in-if-condition,-bugprone-suspicious-string-compare,-bugprone-sizeof-expression,-bugprone-implicit-widening-of-multiplication-result

analyze: analyze-quick ## analyze-quick, then clang-tidy, cppcheck and shellcheck where installed
ifneq ($(shell command -v clang-tidy),)
analyze: $(analysed:%=build/analyze/%.tidy)
else
analyze: no-clang-tidy
endif
# cppcheck looks into no header of the system, so it is told what two files ask of them.
analyze:
	$(Q)if command -v cppcheck >/dev/null; then \
		cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr \
			--error-exitcode=1 -I. -Ilib -D_GNU_SOURCE -D__linux__ \
			-D__x86_64__ -DLOOP_CONFIGURE=0x4C0A $(analysed); \
	else echo 'analyze: skipped cppcheck, it is not installed' >&2; fi
# Every shell script, known by its first line. In vendor/build words are split where they are meant to be (flags, lists of files),
# files are listed by ls in directories that it has made, and a variable is read by its name's name.
	$(Q)if command -v shellcheck >/dev/null; then \
		shellcheck $$(find * .ci -path build -prune -o -type f ! -path vendor/build -exec awk \
			'FNR == 1 && /^#(!.*\/(ba)?sh( |$$)| shellcheck shell=)/ { print FILENAME } { nextfile }' {} +) && \
		shellcheck -e SC2010,SC2013,SC2034,SC2086 vendor/build; \
	else echo 'analyze: skipped shellcheck, it is not installed' >&2; fi

# One process for each file: the analyzer of clang 14 takes every va_list for uninitialised in all but the first of several.
build/analyze/%.c.tidy: %.c build/analyze/%.c.gcc
	$(call say,CHECK,clang-tidy $<)
	$(Q)clang-tidy --quiet --warnings-as-errors='*' --checks='$(tidy_checks)' $< -- $(host) >$@.out 2>&1 || \
		{ cat $@.out; exit 1; }
	@touch $@

no-clang-tidy:
	@echo 'analyze: skipped clang-tidy, it is not installed' >&2

dist: ## build/fcpull-VERSION.tar.gz of what is committed
	@mkdir -p build
	$(Q)git archive --prefix=fcpull-$(VERSION)/ HEAD | gzip -n9 >build/fcpull-$(VERSION).tar.gz
	$(call say,DIST,build/fcpull-$(VERSION).tar.gz)

install: $(product) ## install under DESTDIR and PREFIX (/usr/local)
	$(Q)install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(SBINDIR)
	$(Q)install -m 755 $(product) $(DESTDIR)$(BINDIR)/fcpull
	$(Q)ln -sf ../bin/fcpull $(DESTDIR)$(SBINDIR)/mount.fcpull
	$(Q)install -d $(addprefix $(DESTDIR),$(MANDIR)/man1 $(MANDIR)/man5 $(MANDIR)/man8 $(BASHDIR) $(ZSHDIR) $(FISHDIR))
	$(Q)if ./$(product) --version >/dev/null 2>&1; then set -e; \
		./$(product) man >$(DESTDIR)$(MANDIR)/man1/fcpull.1; \
		./$(product) man fcpull.conf >$(DESTDIR)$(MANDIR)/man5/fcpull.conf.5; \
		./$(product) man mount.fcpull >$(DESTDIR)$(MANDIR)/man8/mount.fcpull.8; \
		./$(product) completion bash >$(DESTDIR)$(BASHDIR)/fcpull; \
		./$(product) completion zsh >$(DESTDIR)$(ZSHDIR)/_fcpull; \
		./$(product) completion fish >$(DESTDIR)$(FISHDIR)/fcpull.fish; \
	else echo 'install: no manual pages and completions: ./$(product) is of another architecture' >&2; fi

clean: ## remove all that was built here (the libraries stay in their cache)
	$(Q)rm -rf build fcpull fcpull-*

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' Makefile

FORCE:
.PHONY: format format-check all check check-asan check-tsan demo bench unit fuzz fuzz-replay analyze-quick no-clang no-clang-tidy \
	banned analyze dist install clean help FORCE
