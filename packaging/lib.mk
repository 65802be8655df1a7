# SPDX-License-Identifier: GPL-2.0-only
#
# The C core as a library, for systems with ELF and GNU tools; CMake serves elsewhere.
#
#   make lib                        build/lib/libkthread_worker.a and .so
#   make install PREFIX= DESTDIR=   also LIBDIR, INCLUDEDIR, MANDIR
#   make uninstall                  with the same settings
#
# CC, AR, OBJCOPY, CPPFLAGS, CFLAGS, LDFLAGS are respected. KTHREAD_PORTABLE_PARK and
# NO_KTHREAD_PROBES are given by CPPFLAGS=-D...
# Both libraries are of position-independent code, so that the static one fits into a plugin.

CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
INSTALL ?= install
OBJCOPY ?= $(shell $(CC) -print-prog-name=objcopy)
# GNU binutils' ar has one name, with a prefix when it is a cross compiler's.
ifeq ($(origin AR),default)
AR = $(shell $(CC) -print-prog-name=ar)
endif

LIB := build/lib
LIB_VERSION := $(shell packaging/about.sh)
LIB_ABI := $(shell packaging/about.sh abi)
LIB_SONAME := libkthread_worker.so.$(LIB_ABI)
LIB_SHARED := libkthread_worker.so.$(LIB_VERSION)
LIB_HEADERS := src/kthread.h src/kthread_worker.h compat/kthread_compat.h
LIB_OBJECTS := $(patsubst src/%.c,$(LIB)/%.o,$(wildcard src/*.c))
# Not -flto, which CFLAGS may have: in objects of that kind no name can be made local.
LIB_FLAGS = -std=c11 -Wall -Wextra -fPIC -fvisibility=hidden -DKTHREAD_EXPORT -pthread \
	$(CPPFLAGS) $(CFLAGS) -fno-lto
LIB_COMMAND = $(CC) $(LIB_FLAGS) $(LDFLAGS) $(AR) $(OBJCOPY) $(LIB_VERSION) $(LIB_ABI)

.PHONY: lib
lib: $(LIB)/libkthread_worker.a $(LIB)/libkthread_worker.so ## the C core as a library, static and shared

# Other flags, another compiler: all is built anew.
$(LIB)/flags: FORCE
	@mkdir -p $(LIB)
	@echo '$(subst ','\'',$(LIB_COMMAND))' | cmp -s - $@ || \
		echo '$(subst ','\'',$(LIB_COMMAND))' > $@

.PHONY: FORCE
FORCE:

$(LIB)/%.o: src/%.c $(LIB)/flags
	$(CC) $(LIB_FLAGS) -MMD -MP -c -o $@ $<

# What the parts of the core call of each other is hidden in a shared library, but in an archive it
# would be in the way of other people's names. So the archive has one object, and in that such
# names are local.
$(LIB)/libkthread_worker.a: $(LIB_OBJECTS)
	$(CC) $(filter-out -pthread,$(LIB_FLAGS)) -r -nostdlib -o $(LIB)/core.all $(LIB_OBJECTS)
	$(OBJCOPY) --localize-hidden $(LIB)/core.all $(LIB)/libkthread_worker.o
	@rm -f $@ $(LIB)/core.all
	$(AR) rcs $@ $(LIB)/libkthread_worker.o

$(LIB)/$(LIB_SHARED): $(LIB_OBJECTS)
	$(CC) $(LIB_FLAGS) -shared -Wl,-soname,$(LIB_SONAME) $(LDFLAGS) -o $@ $(LIB_OBJECTS)

$(LIB)/libkthread_worker.so: $(LIB)/$(LIB_SHARED)
	ln -sf $(LIB_SHARED) $(LIB)/$(LIB_SONAME)
	ln -sf $(LIB_SONAME) $@

-include $(LIB_OBJECTS:.o=.d)

# From one folder of the installation to another, so that the whole may be moved; where one is not
# below PREFIX, its path as it is.
relative = $(shell realpath -ms --relative-to='$(2)' '$(1)')
inside = $(filter $(PREFIX)/%,$(1))
PC_PREFIX = $(if $(call inside,$(LIBDIR)),$${pcfiledir}/$(call relative,$(PREFIX),$(LIBDIR)/pkgconfig),$(PREFIX))
PC_LIBDIR = $(if $(call inside,$(LIBDIR)),$${prefix}/$(call relative,$(LIBDIR),$(PREFIX)),$(LIBDIR))
PC_INCLUDEDIR = $(if $(call inside,$(INCLUDEDIR)),$${prefix}/$(call relative,$(INCLUDEDIR),$(PREFIX)),$(INCLUDEDIR))
POINTER_SIZE = $(shell echo __SIZEOF_POINTER__ | $(CC) $(CPPFLAGS) $(CFLAGS) -E -P -x c -)
CMAKE_DIR = $(LIBDIR)/cmake/kthread_worker
# The stand-ins for <linux/...>, which only who asks for them shall find.
COMPAT_DIR = $(INCLUDEDIR)/kthread_compat
fill = sed -e 's|@PC_PREFIX@|$(PC_PREFIX)|' -e 's|@PC_LIBDIR@|$(PC_LIBDIR)|' \
	-e 's|@PC_INCLUDEDIR@|$(PC_INCLUDEDIR)|' -e 's|@PROJECT_VERSION@|$(LIB_VERSION)|' \
	-e 's|@ABI@|$(LIB_ABI)|' -e 's|@POINTER_SIZE@|$(POINTER_SIZE)|' \
	-e 's|@INCLUDEDIR_FROM_HERE@|$(call relative,$(INCLUDEDIR),$(CMAKE_DIR))|'

# The manual pages take a Python; nothing else here does.
MAN := build/man
HAVE_PYTHON := $(shell $(PYTHON) -c 'import sys; print("yes" * (sys.version_info >= (3, 10)))' 2>/dev/null)

.PHONY: man
man: $(MAN)/made ## the manual pages of the C functions, into build/man

$(MAN)/made: packaging/man.py $(LIB_HEADERS)
	$(PYTHON) packaging/man.py $(MAN)
	@touch $@

.PHONY: install
install: lib $(if $(HAVE_PYTHON),man) ## install the C library (PREFIX=/usr/local DESTDIR= LIBDIR=)
	$(INSTALL) -d '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(CMAKE_DIR)' '$(DESTDIR)$(INCLUDEDIR)'
	$(INSTALL) -m 644 $(LIB_HEADERS) '$(DESTDIR)$(INCLUDEDIR)'
	$(INSTALL) -d '$(DESTDIR)$(COMPAT_DIR)/linux/sched'
	$(INSTALL) -m 644 compat/linux/*.h '$(DESTDIR)$(COMPAT_DIR)/linux'
	$(INSTALL) -m 644 compat/linux/sched/*.h '$(DESTDIR)$(COMPAT_DIR)/linux/sched'
	$(INSTALL) -m 644 $(LIB)/libkthread_worker.a '$(DESTDIR)$(LIBDIR)'
	$(INSTALL) -m 755 $(LIB)/$(LIB_SHARED) '$(DESTDIR)$(LIBDIR)'
	ln -sf $(LIB_SHARED) '$(DESTDIR)$(LIBDIR)/$(LIB_SONAME)'
	ln -sf $(LIB_SONAME) '$(DESTDIR)$(LIBDIR)/libkthread_worker.so'
	$(fill) packaging/kthread_worker.pc.in > '$(DESTDIR)$(LIBDIR)/pkgconfig/kthread_worker.pc'
	for name in config config-version targets; do \
		$(fill) packaging/kthread_worker-$$name.cmake \
			> '$(DESTDIR)$(CMAKE_DIR)'/kthread_worker-$$name.cmake || exit; \
	done
ifeq ($(HAVE_PYTHON),)
	@echo 'no manual pages: they take Python 3.10 or later; PYTHON=... says which'
else
	$(INSTALL) -d '$(DESTDIR)$(MANDIR)/man3' '$(DESTDIR)$(MANDIR)/man7'
	for page in $(MAN)/man*/*; do \
		to='$(DESTDIR)$(MANDIR)'/$${page#$(MAN)/}; \
		if [ -h $$page ]; then ln -sf "$$(readlink $$page)" "$$to"; \
		else $(INSTALL) -m 644 $$page "$$to"; fi || exit; \
	done
endif

.PHONY: uninstall
uninstall: $(if $(HAVE_PYTHON),man) ## remove what make install with the same settings has put there
	rm -f $(addprefix '$(DESTDIR)$(INCLUDEDIR)'/,$(notdir $(LIB_HEADERS))) \
		$(addprefix '$(DESTDIR)$(LIBDIR)'/,libkthread_worker.a libkthread_worker.so \
			$(LIB_SONAME) $(LIB_SHARED) pkgconfig/kthread_worker.pc)
	rm -rf '$(DESTDIR)$(CMAKE_DIR)' '$(DESTDIR)$(COMPAT_DIR)'
	$(if $(HAVE_PYTHON),for page in $(MAN)/man*/*; do \
		rm -f '$(DESTDIR)$(MANDIR)'/$${page#$(MAN)/}; done)

.PHONY: test-embed
test-embed: ## the core in other people's programs, by every way in (EMBED="--compiler clang")
	$(PYTHON) tests/embed/run.py $(EMBED)
