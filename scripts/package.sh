#!/usr/bin/env bash
# Makes what is given to people who do not build: an archive that runs where it is unpacked, and a Python wheel.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'TEXT'
Usage: scripts/package.sh [--output DIR] [--no-build]

Builds the program and leaves in dist/

  longlora-VERSION-linux-x86_64.tar.zst              the program, libtorch's CPU libraries and all others beyond the C
                                                     and C++ runtime, documents, licences, the embedded model
  longlora-VERSION-py3-none-manylinux_G_x86_64.whl   the program for an environment of Python, where the package torch
                                                     brings libtorch; G is the glibc of this system

The same program and commit make the same bytes. SOURCE_DATE_EPOCH is the date of the files, that of the last commit by
default.

  --output DIR   another folder
  --no-build     the program is built already
TEXT
}

output="$REPO/dist" build=1
while (($# > 0)); do
  case "$1" in
    --output)
      (($# > 1)) || usage_error "expected a folder after $1, got nothing"
      output=$2
      shift
      ;;
    --no-build) build='' ;;
    --help | -h) usage && exit 0 ;;
    *) usage_error "unknown option '$1'" ;;
  esac
  shift
done
umask 022
export LC_ALL=C
readonly BUILD="$REPO/build/release" LIBRARIES=lib/longlora LICENCES=share/doc/longlora/licenses
# Libraries whose code is compiled into the program: Debian packages that hold their licences.
readonly HEADER_PACKAGES=(libcli11-dev libfmt-dev libjs-katex nlohmann-json3-dev)
mkdir -p "$output"
output=$(cd "$output" && pwd)
scratch=$(mktemp -d "$output/making-XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# install_components NAME...: puts these components of cmake/Install.cmake into the stage, the program stripped.
install_components() {
  local component
  for component in "$@"; do
    cmake --install "$BUILD" --prefix "$stage" --component "$component" --strip || return 1
  done
}

# fail TEXT: a step's complaint and status.
fail() {
  echo "error: $*"
  return 1
}

# Licences of all that is in the archive beside libtorch, whose own come with the wheels, and what their texts refer to.
gather_licences() {
  local library owner package packages=("${HEADER_PACKAGES[@]}") file
  for library in "$stage/$LIBRARIES"/*.so*; do
    owner=$(dpkg-query -S "*/${library##*/}") || fail "[licences] expected a Debian package that holds $library" || return 1
    packages+=("${owner%%:*}")
  done
  for package in "${packages[@]}"; do
    file=/usr/share/doc/$package/copyright
    mkdir -p "$stage/$LICENCES/$package"
    cp -L "$file" "$stage/$LICENCES/$package/copyright" || fail "[licences] expected $file" || return 1
  done
  mkdir -p "$stage/$LICENCES/common-licenses"
  cat "$stage/$LICENCES"/*/copyright | grep -oE '/usr/share/common-licenses/[A-Za-z0-9.-]*[A-Za-z0-9]' | sort -u |
    while read -r file; do cp -L "$file" "$stage/$LICENCES/common-licenses/" || return 1; done
}

# Everything that the staged program loads lies in the stage, but the C and C++ runtime.
check_needed() {
  local from_system
  from_system=$(ldd "$stage/bin/longlora" | awk '$2 == "=>" {print $1, $3 $4}' | grep -vF "$stage/" |
    grep -vE '^(lib(c|m|dl|rt|util|pthread|gcc_s|stdc\+\+))\.so') || true
  [[ -z $from_system ]] || fail "[package] expected all libraries in the archive, got from the system: $from_system"
}

stage_all() {
  install_components program system_libraries libtorch documentation model || return 1
  rm -rf "$stage/$LIBRARIES/torch/lib/"libtorch_cuda* # the CPU's alone, also from a build with --cuda
  strip --strip-unneeded "$stage/$LIBRARIES"/torch/lib/*.so* || return 1
  gather_licences && check_needed || return 1
  # One form, whatever the clone's files have.
  chmod -R u=rwX,go=rX "$stage"
}

write_archive() {
  tar --create --directory "$scratch" --sort=name --format=gnu --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
    --numeric-owner "${stage##*/}" | zstd --quiet -T0 -12 -o "$scratch/archive" &&
    mv "$scratch/archive" "$output/${stage##*/}.tar.zst"
}

write_wheel() {
  python3 "$REPO/scripts/make_wheel.py" --stage "$stage" --version "$version" --output "$output"
}

command -v dpkg-query >/dev/null || die "[package] expected Debian (dpkg-query), whose packages hold licences; got another system"
if [[ -n $build ]]; then
  "$REPO/scripts/setup.sh" --release
  build_preset release longlora || exit 1
fi
[[ -x $BUILD/longlora ]] || die "[package] expected $BUILD/longlora, found nothing; run without --no-build"
version=$(sed -n 's/^CMAKE_PROJECT_VERSION:STATIC=//p' "$BUILD/CMakeCache.txt")
stage="$scratch/longlora-$version-linux-x86_64"
# A tree without its history gets the earliest date that a wheel can hold.
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git -C "$REPO" log -1 --format=%ct 2>/dev/null || echo 315532800)}"

step "Program, libraries, documents" stage_all || exit 1
step "Archive" write_archive || exit 1
step "Python wheel" write_wheel || exit 1
(cd "$output" && du -h longlora-"$version"-*)
