// SPDX-License-Identifier: Apache-2.0
// A system that refuses what it is asked for, when a test says so. The program replaces socket, send, recv
// and pthread_create, for the libraries that it loads too; inert until a test asks.
#pragma once

namespace redlock::test {

enum class SystemCall { socket, send, recv, pthread_create };

// While it lives, this call fails with this error on every thread, after so many calls that do not: from then
// on, or only once. One at a time for a call.
class Refused {
   public:
    Refused(SystemCall call, int error, long after = 0, bool only_once = false);
    Refused(const Refused&) = delete;
    Refused& operator=(const Refused&) = delete;
    ~Refused();

    // Whether it has refused anything.
    [[nodiscard]] bool has_refused() const;

   private:
    SystemCall call_;
};

}  // namespace redlock::test
