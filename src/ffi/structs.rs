//! Structs that the caller owns and the library fills or reads. Each begins with `size_t struct_size`, which
//! the caller sets, so that a program and a library of different versions understand each other.

use std::mem::{self, MaybeUninit};

use super::error::{Failure, Outcome};

/// No struct of any version is larger: a size above it is memory that nobody set.
const LARGEST: usize = 1024;
/// A `struct_size` and one field.
const SMALLEST: usize = 2 * mem::size_of::<usize>();

/// A struct whose first field is its `struct_size` and for which zero bytes are a value.
///
/// # Safety
/// `#[repr(C)]`, the first field is a `usize`, and all fields are integers, raw pointers, or
/// function pointers that may be NULL.
pub(super) unsafe trait Versioned: Copy {}

/// The size that the caller says, if it is one that can be.
///
/// # Safety
/// `out` is valid for reads of a `usize`.
unsafe fn size_of<T: Versioned>(out: *mut T) -> Option<usize> {
    // SAFETY: the caller's.
    let size = unsafe { out.cast::<usize>().read() };
    let aligned = size % mem::align_of::<T>() == 0;
    ((SMALLEST..=LARGEST).contains(&size) && aligned).then_some(size)
}

/// Zeroes what follows `struct_size`. Does nothing to NULL and to a struct whose size cannot be.
///
/// # Safety
/// `out` is NULL or points to as many writable bytes as its `struct_size` says.
pub(super) unsafe fn clear<T: Versioned>(out: *mut T) {
    if out.is_null() {
        return;
    }
    // SAFETY: not NULL, so it has a `struct_size`.
    if let Some(size) = unsafe { size_of(out) } {
        let head = mem::size_of::<usize>();
        // SAFETY: `size` bytes are writable.
        unsafe { out.cast::<u8>().add(head).write_bytes(0, size - head) };
    }
}

/// Checks `struct_size` and returns it.
///
/// # Safety
/// As for [`clear`].
pub(super) unsafe fn check<T: Versioned>(out: *mut T, parameter: &str) -> Outcome<usize> {
    if out.is_null() {
        return Err(Failure::null(parameter));
    }
    // SAFETY: not NULL, so it has a `struct_size`.
    unsafe { size_of(out) }.ok_or_else(|| {
        // SAFETY: as above.
        let size = unsafe { out.cast::<usize>().read() };
        Failure::parameter(format!(
            "'{parameter}->struct_size' is {size}; set it to sizeof, here {}",
            mem::size_of::<T>()
        ))
    })
}

/// Copies `value` as far as the caller's struct reaches; a larger one keeps the zeros of [`clear`].
///
/// # Safety
/// As for [`clear`]; `size` came from [`check`].
pub(super) unsafe fn fill<T: Versioned>(out: *mut T, size: usize, value: &T) {
    let head = mem::size_of::<usize>();
    let length = size.min(mem::size_of::<T>()) - head;
    let source = std::ptr::from_ref(value).cast::<u8>();
    // SAFETY: both reach that far, and the library's value is no memory of the caller's.
    unsafe { out.cast::<u8>().add(head).copy_from_nonoverlapping(source.add(head), length) };
}

/// Reads a struct of the caller's as far as it reaches; the rest is zero.
///
/// # Safety
/// `input` is NULL or points to as many readable bytes as its `struct_size` says, and zero bytes are
/// a value of every field.
pub(super) unsafe fn read<T: Versioned>(input: *const T, parameter: &str) -> Outcome<T> {
    // SAFETY: the caller's; `check` only reads.
    let size = unsafe { check(input.cast_mut(), parameter) }?.min(mem::size_of::<T>());
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: both reach that far; zero bytes are a value.
    unsafe {
        value.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(input.cast(), size);
        Ok(value.assume_init())
    }
}

/// Zeroes the structs of an array as [`clear`] does one. Does nothing when there can be no such array.
///
/// # Safety
/// `first` is NULL or points to `count` structs of which each has as many writable bytes as the first
/// one's `struct_size` says.
pub(super) unsafe fn clear_all<T: Versioned>(first: *mut T, count: usize) {
    if first.is_null() || count == 0 {
        return;
    }
    // SAFETY: the caller's.
    let Ok(array) = (unsafe { Array::new(first, count, "out") }) else { return };
    for at in 0..count {
        // SAFETY: the element lies in the array.
        unsafe { array.element(at).write_bytes(0, array.size) };
    }
    // SAFETY: the first one has a `struct_size`, which is kept.
    unsafe { first.cast::<usize>().write(array.size) };
}

/// An array of the caller's, whose first element's `struct_size` is the distance to the next.
pub(super) struct Array<T> {
    first: *mut T,
    count: usize,
    size: usize,
}

impl<T: Versioned> Array<T> {
    /// The array, if it is one that can be.
    ///
    /// # Safety
    /// `first` is NULL or points to `count` structs, at least 1, that stay for as long as the array
    /// is used, each as large as the first one's `struct_size` says.
    pub(super) unsafe fn new(first: *mut T, count: usize, parameter: &str) -> Outcome<Self> {
        // SAFETY: the caller's.
        let size = unsafe { check(first, parameter) }?;
        if count > isize::MAX.unsigned_abs() / size {
            let message = format!("'count' is {count}: no array of '{parameter}' is so long");
            return Err(Failure::parameter(message));
        }
        Ok(Self { first, count, size })
    }

    /// Where element `at` begins, which is below the count.
    fn element(&self, at: usize) -> *mut u8 {
        self.first.cast::<u8>().wrapping_add(at * self.size)
    }

    /// The elements, read as far as they reach; the rest of each is zero.
    pub(super) fn values(&self) -> impl Iterator<Item = T> {
        (0..self.count).map(|at| {
            let mut value = MaybeUninit::<T>::zeroed();
            let size = self.size.min(mem::size_of::<T>());
            // SAFETY: both reach that far, by `new`; zero bytes are a value.
            unsafe {
                value.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(self.element(at), size);
                value.assume_init()
            }
        })
    }

    /// Fills element `at`, its `struct_size` too. Does nothing past the end.
    ///
    /// # Safety
    /// The elements are writable.
    pub(super) unsafe fn set(&self, at: usize, value: &T) {
        if at < self.count {
            let element = self.element(at).cast::<T>();
            // SAFETY: the element lies in the array and is as large as `size` says.
            unsafe {
                element.cast::<usize>().write(self.size);
                fill(element, self.size, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::status::QY_ERR_INVALID_ARGUMENT;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Sample {
        struct_size: usize,
        a: u64,
        b: u64,
    }
    // SAFETY: as the trait asks.
    unsafe impl Versioned for Sample {}

    const VALUE: Sample = Sample { struct_size: 24, a: 1, b: 2 };

    /// What a caller's 6 words hold after a fill, when the first says `size`.
    fn filled(size: usize) -> Option<[u64; 6]> {
        let mut words = [9_u64; 6];
        words[0] = size as u64;
        let out = words.as_mut_ptr().cast::<Sample>();
        // SAFETY: the words reach as far as every size that passes the check in these tests.
        unsafe {
            clear(out);
            let size = check(out, "out").ok()?;
            fill(out, size, &VALUE);
        }
        Some(words)
    }

    #[test]
    fn a_struct_is_filled_as_far_as_it_reaches() {
        assert_eq!(filled(24), Some([24, 1, 2, 9, 9, 9]));
        assert_eq!(filled(16), Some([16, 1, 9, 9, 9, 9]));
        assert_eq!(filled(40), Some([40, 1, 2, 0, 0, 9]));
    }

    #[test]
    fn a_struct_is_read_as_far_as_it_reaches() {
        let words = [16_u64, 1, 9];
        // SAFETY: the words reach as far as the size says.
        let read = unsafe { read(words.as_ptr().cast::<Sample>(), "in") }.unwrap();
        assert_eq!(read, Sample { struct_size: 16, a: 1, b: 0 });
    }

    #[test]
    fn an_array_is_read_and_filled_in_steps_of_its_first_size() {
        for size in [16_usize, 24, 32] {
            let words = size / 8;
            let mut memory = vec![9_u64; 3 * words];
            memory[0] = size as u64;
            let first = memory.as_mut_ptr().cast::<Sample>();
            // SAFETY: the memory has three structs of that size.
            unsafe {
                let values: Vec<_> = Array::new(first, 3, "in").unwrap().values().collect();
                let b = if size > 16 { 9 } else { 0 };
                assert_eq!(values[2], Sample { struct_size: 9, a: 9, b });
                clear_all(first, 3);
                let array = Array::new(first, 3, "out").unwrap();
                array.set(1, &VALUE);
                array.set(3, &VALUE);
                assert_eq!(
                    Array::new(first, usize::MAX, "out").err().unwrap().status,
                    QY_ERR_INVALID_ARGUMENT
                );
            }
            let mut expected = vec![0; 3 * words];
            expected[0] = size as u64;
            let filled = [size as u64, 1, 2, 0];
            expected[words..2 * words].copy_from_slice(&filled[..words]);
            assert_eq!(memory, expected);
        }
    }

    #[test]
    fn a_size_that_cannot_be_is_refused_and_nothing_written() {
        for size in [0, 1, 8, 23, 1 << 40, usize::MAX] {
            assert_eq!(filled(size), None, "{size}");
        }
        let mut sample = Sample { struct_size: 0, a: 7, b: 7 };
        // SAFETY: a valid struct.
        let failure = unsafe {
            clear(&mut sample);
            check(&mut sample, "out").unwrap_err()
        };
        assert_eq!(failure.status, QY_ERR_INVALID_ARGUMENT);
        assert!(failure.message.contains("'out->struct_size' is 0"), "{}", failure.message);
        assert_eq!(sample, Sample { struct_size: 0, a: 7, b: 7 });
    }
}
