// SPDX-License-Identifier: Apache-2.0
// Memory that runs out when a test says so. The program replaces operator new, and malloc for the libraries
// that it loads, which is hiredis; inert until a test asks.
#pragma once

namespace redlock::test::memory {

enum class Source {
    operator_new,  // what the library allocates
    malloc,        // what hiredis and the C library allocate
};
enum class Threads { this_one, all };

// After so many allocations one fails, once; the next succeed again.
void fail_after(long count, Source source = Source::operator_new, Threads threads = Threads::this_one);
// As from the beginning: none fails.
void fail_never();
// Whether one has failed since fail_after().
[[nodiscard]] bool has_failed();
// Blocks that the process has in use, of both sources.
[[nodiscard]] long blocks_in_use();

// For the time of what a test does itself, or what stands for sockets and nodes: none fails on this thread.
class Exempt {
   public:
    Exempt();
    Exempt(const Exempt&) = delete;
    Exempt& operator=(const Exempt&) = delete;
    ~Exempt();
};

}  // namespace redlock::test::memory
