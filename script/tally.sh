# shellcheck shell=bash
# Sourced: adds up the closing lines `N passed, N failed, N skipped` of several runs, as tally.py does.
passed=0
failed=0
skipped=0

# Runs a command and shows what it prints; one that ends badly without a failed test counts as one.
tally() {
  local log line status=0
  log=$(mktemp)
  "$@" 2>&1 </dev/null | tee "$log" || status=$?
  line=$(tail -n 1 "$log")
  rm -f "$log"
  if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
    passed=$((passed + BASH_REMATCH[1]))
    failed=$((failed + BASH_REMATCH[2]))
    skipped=$((skipped + ${BASH_REMATCH[4]:-0}))
    if [[ $status -ne 0 && ${BASH_REMATCH[2]} -eq 0 ]]; then failed=$((failed + 1)); fi
  else
    failed=$((failed + 1))
  fi
}

# The overall closing line; false when anything failed or nothing ran.
conclude() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [[ $passed -gt 0 && $failed -eq 0 ]]
}
