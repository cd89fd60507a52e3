#!/bin/bash
# lint.sh [NAME…]: rules about the sources that no compiler checks. Each is a function lint_NAME that prints what
# it found and returns non-zero; all of them run, and the last line is `N passed, N failed`.
# `make lint` builds the release first (linked_libraries reads it) and passes MAKE and B.
set -u
cd "$(dirname "$0")/.." || exit 1
B=${B:-build}
MAKE=${MAKE:-make}

lints=(top_level layering relative_includes banned_functions clocks machine_paths config_keys format cppcheck
    werror_gcc werror_clang linked_libraries)

top_level='.ci .clang-format .gitignore LICENSE Makefile README.md broker client common deploy storage tests worker'
rooms='broker storage worker client'

# Files of the repository, also the ones not added yet. Deleted ones are still in the index.
repo_files() { git ls-files --cached --others --exclude-standard -- "$@" | sort -u | while read -r f; do
    [ -e "$f" ] && printf '%s\n' "$f"
done; }
c_files() { repo_files '*.c' '*.h'; }

# Prints the file without comments and strings, lines kept, each as FILE:LINE:CODE.
code_of() {
    gcc -fpreprocessed -dD -E -w "$1" 2>/dev/null | awk -v file="$1" '
        /^# [0-9]+ "/ { line = $2 - 1; next }
        { line++; gsub(/"([^"\\]|\\.)*"/, "\"\""); print file ":" line ":" $0 }'
}
# Shows what comes in, at most 40 lines of it; true if nothing came.
nothing() {
    awk '{ if (NR <= 40) print } END { if (NR > 40) print "… and " NR - 40 " more"; exit NR > 0 }'
}
# Greps the code of FILES for an extended pattern; true if nothing matches.
no_code_has() { # PATTERN FILE…
    local pattern=$1 file
    shift
    for file; do code_of "$file" | grep -E "$pattern"; done | nothing
}

lint_top_level() {
    diff <(tr ' ' '\n' <<<"$top_level" | LC_ALL=C sort) <(repo_files | cut -d/ -f1 | LC_ALL=C sort -u) |
        sed -n 's/^</missing: /p; s/^>/does not belong: /p' | nothing
}

# The rooms never include each other, and common includes none of them.
lint_layering() {
    local room other
    for room in common $rooms; do
        for other in $rooms; do
            [ "$room" != "$other" ] || continue
            repo_files "$room/*.c" "$room/*.h" | xargs -r grep -nHE "^ *# *include +\"$other/"
        done
    done | nothing
}

# "…" is a path from the root, to a file that exists; <…> is not ours.
lint_relative_includes() {
    local file line path
    {
        c_files | xargs -r grep -nHE '^ *# *include +"' | while IFS=: read -r file line path; do
            path=${path#*\"} path=${path%%\"*}
            [ -f "$path" ] || echo "$file:$line: \"$path\" is not a path from the root"
        done
        c_files | xargs -r grep -nHE '^ *# *include +<(common|broker|storage|worker|client|tests)/'
    } | nothing
}

lint_banned_functions() {
    local names='strcpy|stpcpy|strcat|sprintf|vsprintf|atoi|atol|atoll|atof|strtok|gets|system|popen|usleep|sleep|alloca'
    # shellcheck disable=SC2046 # no file name has a space
    no_code_has "(^|[^A-Za-z0-9_.>])($names) *\\(" $(c_files)
}

# Who decides gets the time as an argument; one file asks the system.
lint_clocks() {
    # shellcheck disable=SC2046
    no_code_has '(^|[^A-Za-z0-9_.>])(time|clock_gettime|gettimeofday|zclock_[a-z]+) *\(' \
        $(repo_files 'common/*.[ch]' 'broker/*.[ch]' 'storage/*.[ch]' 'worker/*.[ch]' 'client/*.[ch]' |
            grep -vE '^common/clock\.[ch]$')
}

lint_machine_paths() { # in brackets, so that this line does not find itself
    repo_files | xargs -r grep -nIE '(^|[^A-Za-z0-9_.-])/(wor[k]|roo[t]|hom[e]/[a-z]+)/' | nothing
}

# A key of the configuration that no program asks for is a promise nobody keeps. The seed's keys are taken so that its
# files still work.
lint_config_keys() {
    local key
    sed -n 's/^ *X(\([A-Z_]*\), [a-z_]*, [A-Z]*, .*/\1/p' common/config.h |
        grep -vE '^(CONFIG|DEFAULT_[A-Z_]*|ALLOW_ORIGINS)$' |
        while read -r key; do
            c_files | grep -vE '^(common/config[a-z_]*\.[ch]|tests/)' | xargs grep -qw "AB_CONF_$key" ||
                echo "nobody uses AB_CONF_$key"
        done | nothing
}

lint_format() {
    c_files | xargs -r clang-format --dry-run -Werror 2>&1 | sed -nE 's/:[0-9]+:[0-9]+: error:.*//p' | sort | uniq -c |
        sed 's/$/: run make format/' | nothing
}

# cppcheck shall not read the system's headers, but it must know the loops that are macros of these. jansson's real
# ones would only tell it that every tree may be NULL. No semicolon: that ends a -D.
lint_cppcheck() {
    local queue
    mkdir -p "$B/lint/cppcheck" "$B/lint/include/sys"
    queue=$(gcc -x c -M - <<<"#include <sys/queue.h>" | grep -oE '/[^ ]*/sys/queue\.h' | head -n 1)
    cp "$queue" "$B/lint/include/sys/" || return
    c_files | grep '\.c$' >"$B/lint/cppcheck.files"
    cppcheck --quiet --std=c11 -j2 -I. -I"$B/lint/include" -D_GNU_SOURCE -DAB_FAILPOINTS=1 \
        -DLIBCURL_VERSION_NUM=0x075800 --enable=warning,performance,portability --inline-suppr \
        -D'json_array_foreach(list,i,v)=while((i=0,v=json_array_get(list,i)))' \
        -D'json_object_foreach(object,k,v)=while((k="",v=json_object_get(object,k)))' \
        -D'json_object_foreach_safe(object,next,k,v)=while((next=0,k="",v=json_object_get(object,k)))' \
        --suppress=missingIncludeSystem --suppress=varFuncNullUB --error-exitcode=1 \
        --cppcheck-build-dir="$B/lint/cppcheck" --file-list="$B/lint/cppcheck.files"
}

werror() { # COMPILER
    "$MAKE" --no-print-directory -j2 B="$B/lint/$1" MODE=debug CC="$1" WERROR=1 build tests objects >"$B/lint/$1.log" 2>&1 && return
    grep -E -A3 'error:|undefined reference|\*\*\*' "$B/lint/$1.log" || tail -n 20 "$B/lint/$1.log"
    return 1
}
lint_werror_gcc() { werror gcc; }
lint_werror_clang() { werror clang; }

# The libraries the project is made for are really used by the programs.
lint_linked_libraries() {
    local linked library bad=0
    linked=$(for program in "$B"/release/bin/autobots*; do
        [ -x "$program" ] && readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'
    done)
    for library in libzmq libczmq libsqlite3 libmsgpackc libcurl; do
        grep -q "^$library\.so" <<<"$linked" || { echo "no program in $B/release/bin needs $library"; bad=1; }
    done
    return $bad
}

mkdir -p "$B/lint"
unset MAKEFLAGS MFLAGS MAKELEVEL
passed=0 failed=0
for name in "${@:-${lints[@]}}"; do
    declare -F "lint_$name" >/dev/null || { echo "lint.sh: no lint '$name'; there are: ${lints[*]}" >&2; exit 2; }
    if found=$("lint_$name" 2>&1); then
        passed=$((passed + 1))
        echo "pass $name"
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        # shellcheck disable=SC2001 # every line
        sed 's/^/    /' <<<"$found"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
