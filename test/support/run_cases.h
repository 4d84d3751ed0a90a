// The main program of doctest tests. It ends with the line that script/run-tests adds up,
// `N passed, N failed, N skipped`, and fails cases that return without having tested anything.
#pragma once

namespace heed::test {

// Returns the exit code.
int RunCases(int argc, char** argv);

// For a case that can't be tested here: call it and return. The case counts as skipped, not as
// passed, and the reason is printed.
void SkipCase(const char* why);

}  // namespace heed::test
