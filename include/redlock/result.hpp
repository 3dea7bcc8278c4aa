// SPDX-License-Identifier: Apache-2.0
// The result of an operation: a value, or a Failure with a report of each node.
//
// Result<T> is a small type of our own so that it is the same whatever -std a translation unit uses.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "redlock/version.hpp"

namespace redlock::inline v0_1 {

/// Why an operation did not succeed. The README's table has the same texts, and says what to do.
enum class errc : std::uint8_t {
    contended = 1,     ///< another holds it, or the votes were split
    unreachable,       ///< too few nodes could vote: they are down, late or refuse
    too_slow,          ///< a quorum granted, but no validity was left
    cancelled,         ///< a stop was requested
    lost,              ///< a quorum says that it is not ours any more, or the validity is over
    unknown,           ///< not confirmed by a quorum: it may or may not have happened
    invalid_argument,  ///< the call can never work as it was made
    fenced,            ///< the guarded resource has seen a larger token
};

/// The answer of one node in one round, or why there is none.
enum class Vote : std::uint8_t {
    pending,      ///< it has not answered yet
    granted,      ///< yes
    denied,       ///< no: the resource is held by another, or is not ours
    absent,       ///< no: the key is not there (extend and release only)
    timeout,      ///< it did not answer in time, or has so much unanswered that it was not asked
    unreachable,  ///< there is no connection, or it ended before the answer came
    refused,      ///< it answered with an error, with rubbish, or is no master
    quarantined,  ///< it restarted a short while ago, or does not say when, and may have forgotten a lock
};

/// Its name, as it is written in code.
[[nodiscard]] constexpr std::string_view to_string(errc code) noexcept {
    switch (code) {
        case errc::contended: return "contended";
        case errc::unreachable: return "unreachable";
        case errc::too_slow: return "too_slow";
        case errc::cancelled: return "cancelled";
        case errc::lost: return "lost";
        case errc::unknown: return "unknown";
        case errc::invalid_argument: return "invalid_argument";
        case errc::fenced: return "fenced";
    }
    return "unspecified";
}

[[nodiscard]] constexpr std::string_view to_string(Vote vote) noexcept {
    switch (vote) {
        case Vote::pending: return "pending";
        case Vote::granted: return "granted";
        case Vote::denied: return "denied";
        case Vote::absent: return "absent";
        case Vote::timeout: return "timeout";
        case Vote::unreachable: return "unreachable";
        case Vote::refused: return "refused";
        case Vote::quarantined: return "quarantined";
    }
    return "unspecified";
}

namespace detail {

class ErrorCategory final : public std::error_category {
   public:
    [[nodiscard]] const char* name() const noexcept override { return "redlock"; }
    [[nodiscard]] std::string message(int value) const override {
        return std::string{to_string(static_cast<errc>(value))};
    }
};

}  // namespace detail

/// The category of every redlock::errc. Thread-safe.
[[nodiscard]] const std::error_category& error_category() noexcept;

[[nodiscard]] inline std::error_code make_error_code(errc code) noexcept {
    return {static_cast<int>(code), error_category()};
}

}  // namespace redlock::inline v0_1

template <>
struct std::is_error_code_enum<redlock::errc> : std::true_type {};

namespace redlock::inline v0_1 {

/// One node's part in one round.
struct NodeReport {
    std::string endpoint;  ///< the URI, without its password
    Vote vote = Vote::pending;
    std::string detail;  ///< the node's own text, or why there is none; may be empty
    /// From the start of the round to the node's answer, which may be an error; 0: there is none, as for one
    /// that is unreachable, late, or was not asked.
    std::chrono::microseconds latency{0};
};

/// Why an operation failed, as text for people and values for code.
class Failure {
   public:
    explicit Failure(errc code, std::string what = {}, std::vector<NodeReport> nodes = {})
        : code_{code}, what_{std::move(what)}, nodes_{std::move(nodes)} {}

    [[nodiscard]] errc code() const noexcept { return code_; }

    /// One report per node, in the order of the configuration; empty when no node was asked.
    [[nodiscard]] const std::vector<NodeReport>& nodes() const noexcept { return nodes_; }

    /// How many attempts were made before giving up; 0 when none was.
    [[nodiscard]] std::uint32_t attempts() const noexcept { return attempts_; }
    void set_attempts(std::uint32_t attempts) noexcept { attempts_ = attempts; }

    /// The longest time any holder has left, as the nodes that denied reported it. None when no node said, as
    /// with fencing off, and when the key on one of them has no ttl, which that node's report says.
    [[nodiscard]] std::optional<std::chrono::milliseconds> holder_remaining() const noexcept {
        return holder_remaining_;
    }
    void set_holder_remaining(std::optional<std::chrono::milliseconds> left) noexcept {
        holder_remaining_ = left;
    }

    /// Adds a detail to each node's report that has none.
    void add_details(const std::vector<std::string>& words);

    /// One line of printable text: the code, what it was about, and what each node said.
    [[nodiscard]] std::string message() const;

    // NOLINTNEXTLINE(google-explicit-constructor): it is an error code with more to say
    operator std::error_code() const noexcept { return make_error_code(code_); }

    friend bool operator==(const Failure& failure, errc code) noexcept { return failure.code_ == code; }

   private:
    errc code_;
    std::uint32_t attempts_ = 0;
    std::optional<std::chrono::milliseconds> holder_remaining_;
    std::string what_;
    std::vector<NodeReport> nodes_;
};

/// Thrown by Result::value() and by the calls that cannot return an error.
class Error : public std::system_error {
   public:
    explicit Error(Failure failure);

    [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }
    [[nodiscard]] const Failure& failure() const noexcept { return failure_; }
    [[nodiscard]] const std::vector<NodeReport>& nodes() const noexcept { return failure_.nodes(); }

   private:
    Failure failure_;
    std::string text_;
};

namespace detail {

/// A type whose destructor releases something, such as a lock: useful only as a named variable.
template <class T>
inline constexpr bool is_held_by_scope = false;

/// The Failure of a call that must not throw when memory has run out. Needs no memory itself.
[[nodiscard]] inline Failure out_of_memory() noexcept { return Failure{errc::unknown, "out of memory"}; }

}  // namespace detail

/// A T, or the Failure that stands in its place. Reading the one that is not there is undefined, except
/// by value(), which throws.
///
/// One that may hold a lock cannot be tested as a temporary: what follows `if (locks.try_lock("a", 5s))`
/// would run without the lock. Name it: `if (auto lock = locks.try_lock("a", 5s))`.
template <class T>
class Result {
   public:
    // NOLINTNEXTLINE(google-explicit-constructor): `return lock;` and `return failure;` are the point
    Result(T value) : value_{std::move(value)} {}
    // NOLINTNEXTLINE(google-explicit-constructor)
    Result(Failure failure) : failure_{std::move(failure)} {}

    [[nodiscard]] bool has_value() const& noexcept { return value_.has_value(); }
    [[nodiscard]] explicit operator bool() const& noexcept { return has_value(); }
    bool has_value() const&& requires(detail::is_held_by_scope<T>) = delete;          // give it a name
    explicit operator bool() const&& requires(detail::is_held_by_scope<T>) = delete;  // give it a name

    [[nodiscard]] T& operator*() & noexcept { return *value_; }
    [[nodiscard]] const T& operator*() const& noexcept { return *value_; }
    [[nodiscard]] T&& operator*() && noexcept { return *std::move(value_); }
    [[nodiscard]] T* operator->() noexcept { return &**this; }
    [[nodiscard]] const T* operator->() const noexcept { return &**this; }

    /// The value. Throws redlock::Error with the failure's detail when there is none.
    [[nodiscard]] T& value() & { return check(), **this; }
    [[nodiscard]] const T& value() const& { return check(), **this; }
    [[nodiscard]] T&& value() && { return check(), *std::move(*this); }

    [[nodiscard]] Failure& error() & noexcept { return *failure_; }
    [[nodiscard]] const Failure& error() const& noexcept { return *failure_; }
    [[nodiscard]] Failure&& error() && noexcept { return *std::move(failure_); }

   private:
    void check() const {
        if (!has_value()) throw Error{error()};
    }

    std::optional<T> value_;
    std::optional<Failure> failure_;  ///< one of the two
};

/// Success, or a Failure.
template <>
class Result<void> {
   public:
    Result() = default;
    // NOLINTNEXTLINE(google-explicit-constructor)
    Result(Failure failure) : failure_{std::move(failure)} {}

    [[nodiscard]] bool has_value() const noexcept { return !failure_.has_value(); }
    [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }

    /// Throws redlock::Error with the failure's detail unless it succeeded.
    void value() const {
        if (!has_value()) throw Error{error()};
    }

    [[nodiscard]] Failure& error() & noexcept { return *failure_; }
    [[nodiscard]] const Failure& error() const& noexcept { return *failure_; }
    [[nodiscard]] Failure&& error() && noexcept { return *std::move(failure_); }

   private:
    std::optional<Failure> failure_;
};

}  // namespace redlock::inline v0_1

#ifndef REDLOCK_COMPILED
#include "redlock/impl/result.hpp"
#endif
