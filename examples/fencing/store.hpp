// SPDX-License-Identifier: Apache-2.0
// What the two holders write to.
#pragma once

#include <cstdint>
#include <string>

#include <redlock/result.hpp>

namespace fencing {

/// A connection to a place that keeps one text. Each process has its own.
class Store {
   public:
    Store() = default;
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;
    virtual ~Store() = default;

    /// Before the first write, once.
    virtual void prepare() {}
    /// errc::fenced: nothing was written, since a later token came before.
    virtual redlock::Result<void> write(const std::string& text, std::uint64_t token, bool is_fenced) = 0;
    virtual std::string read() = 0;
    /// Takes away all that was written.
    virtual void clean_up() = 0;
};

}  // namespace fencing
