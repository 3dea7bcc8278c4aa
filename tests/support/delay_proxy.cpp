// SPDX-License-Identifier: Apache-2.0
#include "support/delay_proxy.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/posix.hpp"
#include "support/socket.hpp"

namespace redlock::test {

DelayProxy::DelayProxy(const std::vector<std::string>& nodes, std::chrono::nanoseconds each_way,
                       Family family)
    : each_way_(each_way),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
    if (!epoll_ || !timer_) throw_errno("epoll or timerfd");
    watch(wake_.fd(), EPOLLIN, &wake_mark_);
    watch(timer_.get(), EPOLLIN, &timer_mark_);
    for (const auto& uri : nodes) add_node(Address::parse(uri), family);
    thread_ = std::thread{[this] { run(); }};
}

DelayProxy::~DelayProxy() {
    command([this] { stopping_ = true; });
    thread_.join();
}

std::vector<std::string> DelayProxy::uris() const {
    std::vector<std::string> all;
    for (const auto& node : nodes_) all.push_back(node->listening.uri());
    return all;
}

void DelayProxy::set_delay(std::chrono::nanoseconds each_way) {
    command([this, each_way] { each_way_ = each_way; });
}

void DelayProxy::hang(std::size_t node) {
    hang(node, Direction::to_node);
    hang(node, Direction::to_client);
}

void DelayProxy::resume(std::size_t node) {
    set_mode(node, Direction::to_node, Mode::forward);
    set_mode(node, Direction::to_client, Mode::forward);
}

void DelayProxy::cut(std::size_t node) {
    command([this, node] {
        for (auto& link : links_) {
            if (link->node == nodes_.at(node).get()) link->close();
        }
    });
}

std::size_t DelayProxy::connections() {
    std::size_t count = 0;
    command([this, &count] { count = links_.size(); });
    return count;
}

void DelayProxy::add_node(Address upstream, Family family) {
    auto node = std::make_unique<Node>();
    node->upstream = std::move(upstream);
    node->listening =
        family == Family::tcp
            ? Address::loopback(0)
            : Address::unix_path(directory_.file(("p" + std::to_string(nodes_.size()) + ".sock").c_str()));
    node->listener = listen_on(node->listening);
    if (family == Family::tcp) node->listening.port = local_port(node->listener.get());
    node->mark = {Mark::Kind::listener, node.get(), {}};
    watch(node->listener.get(), EPOLLIN, &node->mark);
    nodes_.push_back(std::move(node));
}

void DelayProxy::watch(int fd, std::uint32_t events, Mark* mark) const {
    epoll_event event{};
    event.events = events;
    event.data.ptr = mark;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) throw_errno("epoll_ctl");
}

void DelayProxy::set_mode(std::size_t node, Direction direction, Mode mode) {
    command([this, node, direction, mode] {
        nodes_.at(node)->modes[index(direction)] = mode;
        for (auto& link : links_) deliver(*link, direction);
    });
}

void DelayProxy::command(const std::function<void()>& action) {
    std::packaged_task<void()> task{action};
    auto done = task.get_future();
    {
        const std::lock_guard lock{mutex_};
        commands_.push_back(std::move(task));
    }
    wake_.notify();
    done.get();
}

void DelayProxy::run() {
    std::array<epoll_event, 64> events{};
    while (!stopping_) {
        const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
        for (int i = 0; i < count; ++i) handle(events[static_cast<std::size_t>(i)]);
        release_due();
        std::erase_if(links_, [](const auto& link) { return link->closed; });
        set_timer();
    }
}

void DelayProxy::handle(const epoll_event& event) {
    const auto& mark = *static_cast<Mark*>(event.data.ptr);
    switch (mark.kind) {
        case Mark::Kind::wake: obey(); break;
        case Mark::Kind::timer: drain_timer(); break;
        case Mark::Kind::listener: accept_all(*static_cast<Node*>(mark.owner)); break;
        case Mark::Kind::end: {
            auto& link = *static_cast<Link*>(mark.owner);
            if ((event.events & EPOLLOUT) != 0) deliver(link, static_cast<Direction>(other(mark.reads)));
            const bool ending = (event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
            if (ending || (event.events & EPOLLIN) != 0) receive(link, mark.reads, ending);
        }
    }
}

void DelayProxy::obey() {
    wake_.drain();
    std::vector<std::packaged_task<void()>> tasks;
    {
        const std::lock_guard lock{mutex_};
        tasks.swap(commands_);
    }
    for (auto& task : tasks) task();
}

void DelayProxy::accept_all(Node& node) {
    for (;;) {
        FileDescriptor client{::accept4(node.listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
        if (!client) return;
        auto upstream = connect_to(node.upstream);
        if (!upstream) continue;  // the client sees its connection closed
        if (node.listening.family == Family::tcp) set_no_delay(client.get());
        auto link = std::make_shared<Link>();
        link->node = &node;
        link->sources = {std::move(client), std::move(upstream)};
        for (const auto direction : {Direction::to_node, Direction::to_client}) {
            auto& mark = link->marks[index(direction)];
            mark = {Mark::Kind::end, link.get(), direction};
            watch(link->sources[index(direction)].get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &mark);
        }
        links_.push_back(std::move(link));
    }
}

void DelayProxy::receive(Link& link, Direction direction, bool ending) {
    const auto due = std::chrono::steady_clock::now() + each_way_;
    const int fd = link.sources[index(direction)].get();
    while (!link.closed) {
        const auto got = ::recv(fd, scratch_.data(), scratch_.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return;
        const auto size = got > 0 ? static_cast<std::size_t>(got) : 0;
        parcels_.push_back({due, link.shared_from_this(), direction, std::string{scratch_.data(), size}});
        if (got <= 0) return;
        if (size < scratch_.size() && !ending) return;  // the next byte raises a new event
    }
}

void DelayProxy::release_due() {
    const auto now = std::chrono::steady_clock::now();
    while (!parcels_.empty() && parcels_.front().due <= now) {
        auto parcel = std::move(parcels_.front());
        parcels_.pop_front();
        if (parcel.link->closed) continue;
        parcel.link->ready[index(parcel.direction)] += parcel.bytes;
        if (parcel.bytes.empty()) parcel.link->ended[index(parcel.direction)] = true;
        deliver(*parcel.link, parcel.direction);
    }
}

void DelayProxy::deliver(Link& link, Direction direction) {
    if (link.closed) return;
    auto& bytes = link.ready[index(direction)];
    const auto mode = link.node->modes[index(direction)];
    if (mode == Mode::hold) return;
    if (mode == Mode::drop) bytes.clear();
    while (!bytes.empty()) {
        const auto sent =
            ::send(link.sources[other(direction)].get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && (errno == EAGAIN || errno == ENOTCONN)) return;
        if (sent < 0) return link.close();
        bytes.erase(0, static_cast<std::size_t>(sent));
    }
    if (link.ended[index(direction)]) link.close();
}

void DelayProxy::set_timer() {
    const auto due = parcels_.empty() ? TimePoint{} : parcels_.front().due;
    if (due == armed_) return;
    armed_ = due;
    const auto since_epoch = due.time_since_epoch();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_epoch);
    itimerspec when{};
    when.it_value.tv_sec = static_cast<time_t>(seconds.count());
    when.it_value.tv_nsec = static_cast<long>(std::chrono::nanoseconds(since_epoch - seconds).count());
    ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

void DelayProxy::drain_timer() {
    std::uint64_t expirations = 0;
    [[maybe_unused]] const auto got = ::read(timer_.get(), &expirations, sizeof expirations);
    armed_ = TimePoint{};
}

}  // namespace redlock::test
