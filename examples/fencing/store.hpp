// SPDX-License-Identifier: Apache-2.0
// The store that both holders write to.
#pragma once

#include <cstdint>
#include <string>

#include <redlock/result.hpp>

namespace fencing {

/// A connection to a store that keeps one text. Each process has its own connection.
class Store {
   public:
    Store() = default;
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;
    virtual ~Store() = default;

    /// Call once, before the first write.
    virtual void prepare() {}
    /// errc::fenced: nothing was written, since a write with a later token came first.
    virtual redlock::Result<void> write(const std::string& text, std::uint64_t token, bool is_fenced) = 0;
    virtual std::string read() = 0;
    /// Removes everything that was written.
    virtual void clean_up() = 0;
};

}  // namespace fencing
