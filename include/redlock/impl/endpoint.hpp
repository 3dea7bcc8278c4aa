// SPDX-License-Identifier: Apache-2.0
// Parses URIs. Included by endpoint.hpp, behind the declarations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "redlock/impl/inline.hpp"
#include "redlock/text/printable.hpp"

namespace redlock::inline v0_1 {

namespace detail {

[[nodiscard]] inline bool is_of_a_host(char letter) noexcept {
    return (letter >= '0' && letter <= '9') || (letter >= 'A' && letter <= 'Z') ||
           (letter >= 'a' && letter <= 'z') || letter == '.' || letter == '-' || letter == '_';
}

inline void to_lower(std::string& text) noexcept {
    for (char& letter : text) {
        if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    }
}

/// The part of an invalid URI that may be shown (R31). The text may be anything, such as half a password:
/// only a known scheme is shown, and a host where it is certainly a host.
class ShownUri {
   public:
    explicit ShownUri(std::string_view uri) : rest_{uri} {}

    [[nodiscard]] std::string text() && {
        const std::string scheme = take_scheme();
        const bool is_known = !scheme.empty() && scheme.front() != '*';
        if (scheme == "unix://") {  // there is no host
            // Where it is more than one URI, what is behind the first path is anything.
            const bool is_path =
                rest_.starts_with('/') && rest_.find_first_of(":@") == std::string_view::npos;
            return joined({scheme, is_path ? rest_.substr(0, rest_.find_first_of("?#")) : "***"});
        }
        const std::size_t at = rest_.rfind('@');
        if (at != std::string_view::npos) {
            const bool is_query = rest_.find_first_of("?#") < at;
            return joined({scheme, "***@", is_query ? "***" : shown(host_of(rest_.substr(at + 1)))});
        }
        const std::string_view host = host_of(rest_);
        const bool has_no_password = is_known && rest_.find(':') == std::string_view::npos;
        return joined({scheme, has_no_password || is_address(host) ? shown(host) : "***"});
    }

   private:
    [[nodiscard]] std::string take_scheme() {
        const std::size_t end = rest_.find("://");
        if (end == std::string_view::npos) return {};
        const std::string_view scheme = rest_.substr(0, end);
        rest_.remove_prefix(end + 3);
        std::string lower{scheme};
        to_lower(lower);
        for (const std::string_view known :
             {"redis", "rediss", "unix", "valkey", "valkeys", "http", "https", "tcp"}) {
            if (lower == known) return joined({scheme, "://"});
        }
        return "***://";
    }

    [[nodiscard]] static std::string_view host_of(std::string_view text) noexcept {
        const std::size_t close = text.starts_with('[') ? text.find(']') : std::string_view::npos;
        if (close != std::string_view::npos) return text.substr(0, close + 1);
        return text.substr(0, text.find_first_of(":/?#"));
    }

    /// Whether it is nothing but an address.
    [[nodiscard]] static bool is_address(std::string_view host) noexcept {
        constexpr auto none = std::string_view::npos;
        if (host == "localhost") return true;
        if (host.starts_with('[')) return host.find_first_not_of("[]:.0123456789abcdefABCDEF") == none;
        std::size_t dots = 0;
        for (const char letter : host) dots += letter == '.' ? 1 : 0;
        return dots == 3 && host.find_first_not_of(".0123456789") == none;
    }

    [[nodiscard]] static std::string_view shown(std::string_view host) noexcept {
        if (is_address(host)) return host;
        for (const char letter : host) {
            if (!is_of_a_host(letter)) return "***";
        }
        return host;
    }

    std::string_view rest_;
};

/// Reads a URI into an Endpoint, or throws.
class UriParser {
   public:
    explicit UriParser(Endpoint& endpoint) noexcept : endpoint_{endpoint} {}

    void parse(std::string_view uri) {
        if (uri.find('\0') != std::string_view::npos) fail(uri, "it contains a NUL byte");
        std::string_view rest = uri;
        const auto drop = [&rest](std::string_view prefix) {
            if (!rest.starts_with(prefix)) return false;
            rest.remove_prefix(prefix.size());
            return true;
        };
        if (drop("redis://")) {
            check_letters(uri, rest);
            parse_tcp(uri, rest);
        } else if (drop("unix://")) {
            check_letters(uri, rest);
            parse_unix(uri, rest);
        } else if (drop("rediss://")) {
            fail(uri, "TLS is not supported yet; use redis:// through a local TLS tunnel");
        } else {
            fail(uri,
                 "it must begin with redis:// or unix://, as unix:///run/redis.sock (a comma within a URI is "
                 "written %2C)");
        }
    }

   private:
    /// Detects several URIs in one text, where all but the last would be taken for a password.
    static void check_letters(std::string_view uri, std::string_view rest) {
        for (const char letter : rest) {
            if (static_cast<unsigned char>(letter) <= ' ' || letter == '\x7F') {
                fail(uri,
                     "a blank or control character is written %XX, as in %20; the URIs of a list have commas "
                     "between them");
            }
        }
        if (rest.find("://") != std::string_view::npos) {
            fail(uri,
                 "there is a second '://', whose colon is written %3A; the URIs of a list have commas "
                 "between them");
        }
    }

    void parse_tcp(std::string_view uri, std::string_view rest) {
        if (rest.find_first_of("?#") != std::string_view::npos)
            fail(uri, "redis:// takes no '?' or '#'; a database is written /1");
        const std::size_t slash = rest.find('/', credentials_end(rest));
        if (slash != std::string_view::npos) {
            const std::string_view db = rest.substr(slash + 1);
            if (!db.empty()) endpoint_.db_ = number(uri, db, "db", 0, 1'000'000);
            rest = rest.substr(0, slash);
        }
        rest = take_credentials(uri, rest);
        std::string_view port;
        if (rest.starts_with('[')) {
            const std::size_t close = rest.find(']');
            if (close == std::string_view::npos) fail(uri, "the '[' of an IPv6 address has no ']'");
            endpoint_.host_ = rest.substr(1, close - 1);
            if (!is_ipv6(endpoint_.host_)) fail(uri, "only an IPv6 address stands in []");
            port = rest.substr(close + 1);
            if (!port.empty() && port.front() != ':') fail(uri, "only ':port' may follow ']'");
        } else {
            const std::size_t colon = rest.find(':');
            endpoint_.host_ = rest.substr(0, colon);
            if (colon != std::string_view::npos) port = rest.substr(colon);
            if (port.find(':', 1) != std::string_view::npos) fail(uri, "an IPv6 address needs [] around it");
        }
        if (endpoint_.host_.empty()) fail(uri, "the host is missing");
        if (!rest.starts_with('[') && !is_host(endpoint_.host_)) {
            fail(uri,
                 "a host has letters, digits, '.', '-' and '_'; the URIs of a list have commas between them");
        }
        to_lower(endpoint_.host_);
        if (!port.empty()) {
            endpoint_.port_ = static_cast<std::uint16_t>(number(uri, port.substr(1), "port", 1, 65535));
        }
    }

    void parse_unix(std::string_view uri, std::string_view rest) {
        endpoint_.scheme_ = Endpoint::Scheme::unix_socket;
        const std::size_t question = rest.find('?', credentials_end(rest));
        if (question != std::string_view::npos) {
            const std::string_view query = rest.substr(question + 1);
            if (!query.starts_with("db=")) fail(uri, "only '?db=n' may follow the path");
            endpoint_.db_ = number(uri, query.substr(3), "db", 0, 1'000'000);
            rest = rest.substr(0, question);
        }
        rest = take_credentials(uri, rest);
        if (!rest.starts_with('/')) fail(uri, "the path must be absolute, as in unix:///run/redis.sock");
        endpoint_.path_ = decode(uri, rest);
        constexpr std::size_t longest = 107;  // sun_path, less its final NUL
        if (endpoint_.path_.size() > longest) fail(uri, "the path of a unix socket has at most 107 bytes");
    }

    /// Where a '/' or '?' may count again: a password may hold them.
    [[nodiscard]] static std::size_t credentials_end(std::string_view rest) noexcept {
        if (rest.starts_with('/')) return 0;  // a unix path without credentials may hold '@'
        const std::size_t at = rest.rfind('@');
        return at == std::string_view::npos ? 0 : at;
    }

    std::string_view take_credentials(std::string_view uri, std::string_view rest) {
        if (rest.starts_with('/')) return rest;
        const std::size_t at = rest.rfind('@');
        if (at == std::string_view::npos) return rest;
        const std::string_view login = rest.substr(0, at);
        const std::size_t colon = login.find(':');
        endpoint_.user_ = decode(uri, login.substr(0, colon));
        if (colon != std::string_view::npos) endpoint_.password_ = decode(uri, login.substr(colon + 1));
        if (endpoint_.password_.empty()) fail(uri, "a user needs a password: user:password@");
        return rest.substr(at + 1);
    }

    /// By its letters. What is not ASCII is left to the name look-up.
    [[nodiscard]] static bool is_host(std::string_view host) noexcept {
        for (const char letter : host) {
            if (!is_of_a_host(letter) && static_cast<unsigned char>(letter) < 0x80) return false;
        }
        return true;
    }

    /// By its letters; a zone may follow, as in fe80::1%eth0.
    [[nodiscard]] static bool is_ipv6(std::string_view host) noexcept {
        const std::string_view address = host.substr(0, host.find('%'));
        return address.find(':') != std::string_view::npos &&
               address.find_first_not_of(":.0123456789abcdefABCDEF") == std::string_view::npos;
    }

    static std::uint32_t number(std::string_view uri, std::string_view text, const char* name,
                                std::uint32_t min, std::uint32_t max) {
        std::uint64_t value = 0;
        if (!read_number(text, value) || value < min || value > max) {
            // The text may be a password, where the '@' is missing.
            fail(uri, joined({"the ", name, " is no number from ", min, " to ", max,
                              "; credentials end with an '@'"}));
        }
        return static_cast<std::uint32_t>(value);
    }

    /// The value of a hex digit; 16: it is none.
    [[nodiscard]] static unsigned hex_digit(char letter) noexcept {
        if (letter >= '0' && letter <= '9') return static_cast<unsigned>(letter - '0');
        if (letter >= 'a' && letter <= 'f') return static_cast<unsigned>(letter - 'a') + 10;
        if (letter >= 'A' && letter <= 'F') return static_cast<unsigned>(letter - 'A') + 10;
        return 16;
    }

    static std::string decode(std::string_view uri, std::string_view text) {
        std::string plain;
        for (std::size_t i = 0; i < text.size(); ++i) {
            if (text[i] != '%') {
                plain.push_back(text[i]);
                continue;
            }
            const unsigned high = i + 2 < text.size() ? hex_digit(text[i + 1]) : 16;
            const unsigned low = i + 2 < text.size() ? hex_digit(text[i + 2]) : 16;
            if (high == 16 || low == 16) fail(uri, "'%' must be followed by two hex digits");
            const unsigned byte = high * 16 + low;
            if (byte == 0) fail(uri, "%00 is not allowed");
            plain.push_back(static_cast<char>(byte));
            i += 2;
        }
        return plain;
    }

    [[noreturn]] static void fail(std::string_view uri, std::string_view why) {
        const std::string shown = in_quotes(ShownUri{uri}.text());
        throw std::invalid_argument{printable(joined({"redlock: bad URI ", shown, ": ", why}))};
    }

    Endpoint& endpoint_;
};

}  // namespace detail

REDLOCK_INLINE std::string Endpoint::display() const {
    const bool is_socket = scheme_ == Scheme::unix_socket;
    const bool is_ipv6 = host_.find(':') != std::string::npos;
    std::string shown = is_socket ? "unix://" : "redis://";
    if (is_ipv6) shown.append("[");
    shown.append(is_socket ? path_ : host_);
    if (is_ipv6) shown.append("]");
    if (!is_socket) shown.append(detail::joined({":", port_}));
    if (db_ != 0) shown.append(detail::joined({is_socket ? "?db=" : "/", db_}));
    return detail::printable(shown);
}

REDLOCK_INLINE void Endpoint::parse(std::string_view uri) { detail::UriParser{*this}.parse(uri); }

REDLOCK_INLINE Endpoints::Endpoints(std::initializer_list<Item> list) {
    for (const Item& item : list) add(item, list.size());
    check();
}

REDLOCK_INLINE Endpoints Endpoints::all_of(std::initializer_list<Endpoints> lists) {
    std::vector<Endpoint> all;
    for (const Endpoints& some : lists) {
        for (const Endpoint& endpoint : some.list_) all.push_back(endpoint);
    }
    return Endpoints{all};
}

REDLOCK_INLINE void Endpoints::split(std::string_view uris) {
    std::vector<std::string_view> parts;
    for (bool is_last = uris.empty(); !is_last;) {
        const std::size_t comma = uris.find(',');
        is_last = comma == std::string_view::npos;
        std::string_view uri = uris.substr(0, comma);
        while (uri.starts_with(' ')) uri.remove_prefix(1);
        while (uri.ends_with(' ')) uri.remove_suffix(1);
        if (!is_last) uris.remove_prefix(comma + 1);
        if (uri.empty()) {
            throw std::invalid_argument{"redlock: there is an empty URI in the list of nodes"};
        }
        parts.push_back(uri);
    }
    for (const std::string_view part : parts) add(part, parts.size());
    check();
}

REDLOCK_INLINE void Endpoints::add(const Item& item, std::size_t count) try {
    list_.push_back(static_cast<Endpoint>(item));
} catch (const std::invalid_argument& error) {
    if (count == 1) throw;
    constexpr std::string_view prefix = "redlock: ";
    const std::string_view why = std::string_view{error.what()}.substr(prefix.size());
    throw std::invalid_argument{
        detail::joined({prefix, "node ", list_.size() + 1, " of ", count, ": ", why})};
}

REDLOCK_INLINE void Endpoints::check() const {
    if (list_.empty()) throw std::invalid_argument{"redlock: the list of nodes is empty"};
    for (auto node = list_.begin(); node != list_.end(); ++node) {
        for (auto earlier = list_.begin(); earlier != node; ++earlier) {
            if (!earlier->same_server(*node)) continue;
            throw std::invalid_argument{
                detail::joined({"redlock: the node ", node->display(), " is there twice"})};
        }
    }
}

}  // namespace redlock::inline v0_1
