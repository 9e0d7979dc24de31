// Qyun (青云) for C++17: what a channel has kept. Included by qyun.hpp.
//
//     qyun::history_range newest;
//     newest.limit = 10;
//     newest.backward = true;
//     for (const qyun::publication& one : client.history("news", newest))
//       std::cout << one.at.offset << ' ' << one.data << '\n';
#ifndef QYUN_HISTORY_HPP
#define QYUN_HISTORY_HPP

#include "qyun.hpp"

namespace qyun {
#ifdef QYUN_NO_EXCEPTIONS
inline namespace without_exceptions {
#else
inline namespace with_exceptions {
#endif

/// A publication of a page, valid while that lives.
struct publication {
  position at;
  std::chrono::system_clock::time_point time;
  message_kind kind;
  std::string_view data;
};

/// A page of a channel's history: a range of `publication`.
class history {
 public:
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = publication;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = publication;

    publication operator*() const noexcept { return (*page_)[index_]; }
    iterator& operator++() noexcept {
      ++index_;
      return *this;
    }
    iterator operator++(int) noexcept {
      iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const iterator& other) const noexcept { return index_ == other.index_; }
    bool operator!=(const iterator& other) const noexcept { return index_ != other.index_; }

   private:
    friend class history;
    iterator(const history* page, std::size_t index) noexcept : page_(page), index_(index) {}
    const history* page_;
    std::size_t index_;
  };

  explicit history(qy_history* owned) noexcept : handle_(owned) {
    info_.struct_size = sizeof info_;
    (void)qy_history_info_get(get(), &info_);
  }

  std::size_t size() const noexcept { return qy_history_count(get()); }
  bool empty() const noexcept { return size() == 0; }
  /// Only below size().
  publication operator[](std::size_t index) const noexcept {
    // A newer library may have a longer struct: its struct_size is the distance to the next.
    const qy_publication* first = qy_history_publications(get());
    const auto& row = *reinterpret_cast<const qy_publication*>(
        reinterpret_cast<const char*>(first) + index * first->struct_size);
    using ms = std::chrono::milliseconds;
    return {{info_.epoch, row.offset},
            std::chrono::system_clock::time_point(ms(static_cast<ms::rep>(row.time_ms))),
            static_cast<message_kind>(row.kind),
            {static_cast<const char*>(row.data), row.len}};
  }
  iterator begin() const noexcept { return {this, 0}; }
  iterator end() const noexcept { return {this, size()}; }

  /// Where the channel stood: its last publication.
  position at() const noexcept { return {info_.epoch, info_.offset}; }
  /// The oldest offset that is kept; the one behind the last if none is.
  std::uint64_t first() const noexcept { return info_.first; }
  /// Whether there is more of the range than the page.
  bool more() const noexcept { return info_.more != 0; }

  /// For calls of qyun.h.
  const qy_history* get() const noexcept { return handle_.get(); }

 private:
  detail::handle<qy_history, qy_history_free> handle_;
  qy_history_info info_{};
};

namespace detail {

template <class Read>
result<history> page(std::string_view channel, const history_range& range, Read read) noexcept {
  const c_string name(channel);
  if (!name.whole()) return name.refusal(QY_ERR_INVALID_NAME, "name");
  qy_history_range raw{};
  raw.struct_size = sizeof raw;
  raw.after = range.after;
  raw.before = range.before;
  raw.limit = range.limit;
  raw.backward = range.backward;
  qy_history* made = nullptr;
  const qy_status code = read(name.get(), &raw, &made);
  if (code != QY_OK) return status::of(code);
  return history(made);
}

}  // namespace detail

inline result<history> client::try_history(std::string_view channel,
                                           const history_range& range) const noexcept {
  return detail::page(channel, range, [this](auto... rest) {
    return qy_client_history(get(), rest...);
  });
}
inline outcome<history> client::history(std::string_view channel,
                                        const history_range& range) const {
  return detail::take(try_history(channel, range));
}

inline result<history> server::try_history(std::string_view channel,
                                           const history_range& range) const noexcept {
  return detail::page(channel, range, [this](auto... rest) {
    return qy_server_history(get(), rest...);
  });
}
inline outcome<history> server::history(std::string_view channel,
                                        const history_range& range) const {
  return detail::take(try_history(channel, range));
}

}  // inline namespace
}  // namespace qyun

#endif  // QYUN_HISTORY_HPP
