# shellcheck shell=bash disable=SC2034
# Sourced: how to get at other suites of the archive this Debian machine installs from, without touching
# the machine's own package lists.

# This machine's entry for its own release, of the newer form (stanzas) or the older one (lines), made
# to name another suite. Prints the name of the file it wrote; empty when the machine has no such entry.
archive_entry() {  # FOLDER SUITE TYPE (deb or deb-src)
  local release
  release=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
  awk -v RS= -v release="$release" -v suite="$2" -v type="$3" '
    ("\n" $0) ~ ("\nSuites:[^\n]*[ \t](" release "|stable|testing|unstable|sid)([ \t\n]|$)") {
      count = split($0, line, "\n")
      for (i = 1; i <= count; ++i) {
        if (line[i] ~ /^Types:/) line[i] = "Types: " type
        if (line[i] ~ /^Suites:/) line[i] = "Suites: " suite
        if (line[i] ~ /^Components:/) line[i] = "Components: main"
        if (line[i] !~ /^(#|Enabled:)/) print line[i]
      }
      exit
    }' /etc/apt/sources.list.d/*.sources 2>/dev/null >"$1/entry.sources" || true
  [[ -s $1/entry.sources ]] && { echo "$1/entry.sources"; return; }
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -nE "s/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+)[[:space:]]+${release}[[:space:]].*/$3 \1\2 $2 main/p" |
    head -n 1 >"$1/entry.list"
  echo "$1/entry.list"
}

# Sets apt_options: with them apt knows that suite alone, and keeps what it learns under FOLDER. An archive
# that stands still (a snapshot) will do.
use_archive() {  # FOLDER SUITE TYPE
  mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
  apt_options=(-o "Dir::Etc::SourceList=$(archive_entry "$@")" -o "Dir::Etc::SourceParts=-"
    -o "Dir::State::Lists=$1/lists" -o "Dir::Cache=$1/cache"
    -o "APT::Sandbox::User=$(id -un)" -o "Acquire::http::Timeout=20"
    -o "Acquire::Check-Valid-Until=false")
}
