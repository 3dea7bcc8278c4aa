// SPDX-License-Identifier: Apache-2.0
// Where one node is: redis:// and unix:// URIs.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/fwd.hpp"
#include "redlock/version.hpp"

namespace redlock::inline v0_1 {

namespace detail {

template <class T>
concept StringLike = std::convertible_to<const T&, std::string_view>;

/// A range of values that an Element can be made of. A string does not count as a range.
template <class T, class Element>
concept RangeOf =
    !StringLike<T> && std::constructible_from<Element, decltype(*std::begin(std::declval<const T&>()))>;

class UriParser;

}  // namespace detail

/// The address of one node and how to log in to it.
///
///   redis://[[user]:password@]host[:port][/db]      port 6379, db 0 by default; [::1] for IPv6
///   unix://[[user]:password@]/path/to.sock[?db=n]
///
/// Without a user the password is the default user's; a user without a password is refused. User, password
/// and path may hold %XX escapes, and must where they have a blank, a control character or `://`. rediss://
/// (TLS) is recognised and refused: it is not supported. Converts from any string, and throws
/// std::invalid_argument where the URI is bad. Its message says what is wrong, and shows no more of the URI
/// than the scheme, the host and the path of a unix socket, since the rest may be a secret. Looks up no name.
/// A value: copies are independent.
class Endpoint {
   public:
    enum class Scheme : std::uint8_t { tcp, unix_socket };

    template <detail::StringLike String>
    // NOLINTNEXTLINE(google-explicit-constructor): lists of URIs are lists of endpoints
    Endpoint(const String& uri) {
        parse(std::string_view{uri});
    }

    [[nodiscard]] Scheme scheme() const noexcept { return scheme_; }
    [[nodiscard]] const std::string& host() const noexcept { return host_; }
    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }  ///< of the unix socket
    [[nodiscard]] const std::string& user() const noexcept { return user_; }
    [[nodiscard]] const std::string& password() const noexcept { return password_; }
    [[nodiscard]] std::uint32_t db() const noexcept { return db_; }

    /// The URI without user and password, printable: for logs and reports.
    [[nodiscard]] std::string display() const;

    /// Whether both name one server, by what is written (a server has one quorum vote, whatever the db).
    [[nodiscard]] bool same_server(const Endpoint& other) const noexcept {
        return scheme_ == other.scheme_ && host_ == other.host_ && port_ == other.port_ &&
               path_ == other.path_;
    }

   private:
    friend class detail::UriParser;

    void parse(std::string_view uri);

    Scheme scheme_ = Scheme::tcp;
    std::uint16_t port_ = 6379;
    std::uint32_t db_ = 0;
    std::string host_;
    std::string path_;
    std::string user_;
    std::string password_;
};

/// The nodes of a Redlock. Converts from a string of URIs with commas between them (a comma within a URI
/// is written %2C), a brace list of URIs, and any range of URIs. Throws std::invalid_argument when there
/// are none, when a URI is bad (and says which), and when a node is there twice.
class Endpoints {
   public:
    /// An item of a brace list. Its URI is read when its place in the list is known.
    struct Item {
        template <detail::StringLike String>
        Item(const String& text) : uri{text} {}          // NOLINT(google-explicit-constructor)
        Item(const Endpoint& made) : endpoint{&made} {}  // NOLINT(google-explicit-constructor)
        [[nodiscard]] explicit operator Endpoint() const { return endpoint ? *endpoint : Endpoint{uri}; }
        std::string_view uri{};
        const Endpoint* endpoint = nullptr;
    };

    template <detail::StringLike String>
    // NOLINTNEXTLINE(google-explicit-constructor)
    Endpoints(const String& comma_separated_uris) {
        split(std::string_view{comma_separated_uris});
    }

    Endpoints(std::initializer_list<Item> list);

    template <detail::RangeOf<Endpoint> Range>
    // NOLINTNEXTLINE(google-explicit-constructor)
    Endpoints(const Range& uris) {
        const auto count = static_cast<std::size_t>(std::distance(std::begin(uris), std::end(uris)));
        for (const auto& uri : uris) {
            if constexpr (std::constructible_from<Item, decltype(uri)>) {
                add(Item{uri}, count);
            } else {
                add(Item{Endpoint(uri)}, count);
            }
        }
        check();
    }

    [[nodiscard]] static Endpoints all_of(std::initializer_list<Endpoints> lists);

    [[nodiscard]] const std::vector<Endpoint>& list() const noexcept { return list_; }

   private:
    void split(std::string_view uris);

    /// `count`: how many nodes the list will have.
    void add(const Item& item, std::size_t count);
    void check() const;

    std::vector<Endpoint> list_;
};

namespace detail {

/// What can only name nodes: a string, a range of URIs, or an Endpoints.
template <class T>
concept NodesLike = StringLike<T> || RangeOf<T, Endpoint> || std::same_as<T, Endpoints>;

}  // namespace detail

}  // namespace redlock::inline v0_1

#ifndef REDLOCK_COMPILED
#include "redlock/impl/endpoint.hpp"
#endif
