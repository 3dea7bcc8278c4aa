// SPDX-License-Identifier: Apache-2.0
#include "memory/failing_memory.hpp"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <new>

// The allocator of glibc, by the names that a program which replaces malloc may use.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void __libc_free(void* memory);
}

namespace redlock::test::memory {
namespace {

std::atomic<long> left{-1};  // allocations until one fails; below 0: none will
std::atomic<Source> failing{Source::operator_new};
std::atomic<Threads> concerned{Threads::this_one};
std::atomic<bool> failed{false};
std::atomic<long> in_use{0};
thread_local bool is_this_one = false;
thread_local int exemptions = 0;

[[nodiscard]] bool must_fail(Source source) noexcept {
    if (left < 0 || failing != source || exemptions > 0) return false;
    if (concerned == Threads::this_one && !is_this_one) return false;
    if (left-- != 0) return false;
    failed = true;
    return true;
}

[[nodiscard]] void* counted(void* memory) noexcept {
    if (memory != nullptr) ++in_use;
    return memory;
}

void release(void* memory) noexcept {
    if (memory != nullptr) --in_use;
    __libc_free(memory);
}

void* allocate(std::size_t size) {
    if (must_fail(Source::operator_new)) throw std::bad_alloc{};
    void* memory = counted(__libc_malloc(size));
    if (memory == nullptr) throw std::bad_alloc{};
    return memory;
}

// In place of malloc.
template <class Allocate>
[[nodiscard]] void* allocate_or_fail(Allocate allocate) noexcept {
    if (!must_fail(Source::malloc)) return allocate();
    errno = ENOMEM;
    return nullptr;
}

}  // namespace

void fail_after(long count, Source source, Threads threads) {
    is_this_one = true;
    failed = false;
    failing = source;
    concerned = threads;
    left = count;
}

void fail_never() {
    left = -1;
    is_this_one = false;
}

bool has_failed() { return failed; }
long blocks_in_use() { return in_use; }

Exempt::Exempt() { ++exemptions; }
Exempt::~Exempt() { --exemptions; }

}  // namespace redlock::test::memory

void* operator new(std::size_t size) { return redlock::test::memory::allocate(size); }
void operator delete(void* memory) noexcept { redlock::test::memory::release(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { redlock::test::memory::release(memory); }

namespace memory = redlock::test::memory;

extern "C" {

void* malloc(std::size_t size) noexcept {
    return memory::allocate_or_fail([=] { return memory::counted(__libc_malloc(size)); });
}

void* calloc(std::size_t count, std::size_t size) noexcept {
    return memory::allocate_or_fail([=] { return memory::counted(__libc_calloc(count, size)); });
}

void* realloc(void* memory, std::size_t size) noexcept {
    if (memory == nullptr) return malloc(size);
    return memory::allocate_or_fail([=] { return __libc_realloc(memory, size); });
}

void free(void* memory) noexcept { redlock::test::memory::release(memory); }

}  // extern "C"
