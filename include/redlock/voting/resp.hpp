// SPDX-License-Identifier: Apache-2.0
// RESP, the protocol that all servers speak.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "redlock/text/printable.hpp"

namespace redlock::inline v0_1::detail {

/// Writes one request.
class RequestWriter {
   public:
    explicit RequestWriter(std::size_t argument_count) { header('*', argument_count); }

    RequestWriter& arg(std::string_view text) {
        header('$', text.size());
        bytes_.append(text).append("\r\n");
        return *this;
    }

    RequestWriter& arg(std::int64_t number) { return arg(Part{number}.text()); }

    RequestWriter& arg(std::chrono::milliseconds duration) { return arg(std::int64_t{duration.count()}); }

    [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }
    [[nodiscard]] std::string take() && { return std::move(bytes_); }

   private:
    void header(char kind, std::size_t value) {
        bytes_.push_back(kind);
        bytes_.append(Part{value}.text()).append("\r\n");
    }

    std::string bytes_;
};

}  // namespace redlock::inline v0_1::detail
