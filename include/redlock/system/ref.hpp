// SPDX-License-Identifier: Apache-2.0
// Shared ownership by a count in the object itself.
//
// Not std::shared_ptr: that generates a control block for each type, and puts the code that drops a reference
// into every function that holds one. A file that locks compiles a few hundredths faster with this.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace redlock::inline v0_1::detail {

/// Base of what a Ref owns.
class Counted {
   public:
    Counted& operator=(const Counted&) = delete;

    void add_reference() const noexcept { references_.fetch_add(1, std::memory_order_relaxed); }

    /// The last one destroys it.
    [[gnu::noinline]] void drop_reference() const noexcept {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

    [[nodiscard]] std::uint32_t references() const noexcept {
        return references_.load(std::memory_order_relaxed);
    }

   protected:
    Counted() = default;
    Counted(const Counted&) noexcept {}  // a copy has owners of its own
    virtual ~Counted() = default;

   private:
    mutable std::atomic<std::uint32_t> references_{0};
};

/// One of the owners of a T, or null. Thread-safe as std::shared_ptr is: different Refs to one object may be
/// used at once, one Ref may not.
template <class T>
class Ref {
   public:
    Ref() = default;
    Ref(std::nullptr_t) noexcept {}  // NOLINT(google-explicit-constructor): as a pointer is
    explicit Ref(T* object) noexcept : object_{object} {
        if (object != nullptr) object->add_reference();
    }
    Ref(const Ref& other) noexcept : Ref{other.object_} {}
    Ref(Ref&& other) noexcept : object_{std::exchange(other.object_, nullptr)} {}
    template <class U>
    Ref(const Ref<U>& other) noexcept : Ref{other.get()} {}  // NOLINT(google-explicit-constructor)
    Ref& operator=(Ref other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }
    ~Ref() {
        if (object_ != nullptr) object_->drop_reference();
    }

    [[nodiscard]] T* get() const noexcept { return object_; }
    [[nodiscard]] T& operator*() const noexcept { return *object_; }
    [[nodiscard]] T* operator->() const noexcept { return object_; }
    [[nodiscard]] explicit operator bool() const noexcept { return object_ != nullptr; }
    /// How many owners there are, where no other thread changes that.
    [[nodiscard]] std::size_t use_count() const noexcept {
        return object_ != nullptr ? object_->references() : 0;
    }
    void swap(Ref& other) noexcept { std::swap(object_, other.object_); }
    void reset() noexcept { *this = Ref{}; }

    friend bool operator==(const Ref&, const Ref&) = default;

   private:
    T* object_ = nullptr;
};

template <class T, class... Arguments>
[[nodiscard]] Ref<T> make_ref(Arguments&&... arguments) {
    return Ref<T>{new T(std::forward<Arguments>(arguments)...)};
}

}  // namespace redlock::inline v0_1::detail
