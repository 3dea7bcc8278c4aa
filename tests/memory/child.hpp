// SPDX-License-Identifier: Apache-2.0
// Runs something in a forked child, where it may end the process or use up what the process has.
#pragma once

#include <functional>
#include <string>

namespace redlock::test {

// How a child ended: by the number that its work returned, by std::terminate, by a signal, or not in time.
struct ChildEnd {
    enum class How { returned, terminated, signalled, hung };
    How how = How::returned;
    int number = 0;

    [[nodiscard]] bool returned(int wanted) const { return how == How::returned && number == wanted; }
    [[nodiscard]] std::string text() const;
};

// `work` returns at most 99. The child has none of the parent's other threads, and ends with it.
[[nodiscard]] ChildEnd run_in_child(const std::function<int()>& work);

// Descriptors that this process has open.
[[nodiscard]] long open_descriptors();

}  // namespace redlock::test
