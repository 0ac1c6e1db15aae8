//! A private key of what an operation by the Chinese remainder theorem needs: n, e and d are found.
//!
//! That p and q are primes is not tested: it would take as long as a hundred operations, and what comes of numbers that
//! are none harms nobody but who brought them.

use std::cmp::Ordering;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::error::KeyFault;
use super::key::{MAX_EXPONENT_BITS, bits, field_bits, is_odd};
use super::number::{Context, Number};
use super::parts::PrivateParts;
use super::{CrtNumbers, KeyError};

/// Public exponents that are tried before one is computed. Nearly all keys have the first.
const USUAL_EXPONENTS: [u64; 5] = [65_537, 3, 5, 17, 257];

/// Why there is no key of these numbers.
enum Refused {
    Size(usize),
    Fault(KeyFault),
    NoMemory,
}

/// All numbers of the key that these belong to.
///
/// # Errors
/// [`KeyError::Size`], [`KeyError::Unsound`]; [`KeyError::Library`] when memory is lacking.
pub(super) fn parts_of(numbers: &CrtNumbers<'_>, origin: &str) -> Result<PrivateParts, KeyError> {
    derive(numbers).map_err(|refused| match refused {
        Refused::Size(bits) => KeyError::Size { origin: origin.to_owned(), bits },
        Refused::Fault(fault) => KeyError::Unsound { origin: origin.to_owned(), fault },
        Refused::NoMemory => KeyError::Library { what: "take over the numbers of a private key" },
    })
}

fn derive(numbers: &CrtNumbers<'_>) -> Result<PrivateParts, Refused> {
    let CrtNumbers { p, q, dp, dq, qinv } = *numbers;
    let [p, q, dp, dq, qinv] = [p, q, dp, dq, qinv].map(without_zeros);
    check_form(p, q, [dp, dq, qinv])?;
    // From here on no number is longer than half of the largest modulus.
    let mut context = Context::new().ok_or(Refused::NoMemory)?;
    let c = &mut context;
    let [p, q, dp, dq, qinv] = [number(p)?, number(q)?, number(dp)?, number(dq)?, number(qinv)?];
    let n = p.times(&q, c).ok_or(Refused::NoMemory)?;
    if n.bits() != 2 * p.bits() {
        return Err(Refused::Size(n.bits()));
    }
    let inverse = qinv.cmp(&p) == Ordering::Less && q.is_inverse(&qinv, &p, c).ok_or(Refused::NoMemory)?;
    if !inverse {
        return Err(Refused::Fault(KeyFault::Crt));
    }
    let [p1, q1] = [&p, &q].map(Number::minus_one);
    let (p1, q1) = (p1.ok_or(Refused::NoMemory)?, q1.ok_or(Refused::NoMemory)?);
    let (e, kp) = public_exponent(&dp, &p1, c)?;
    let kq = quotient(e, &dq, &q1, c)?.ok_or(Refused::Fault(KeyFault::Crt))?;
    // (e dp − 1) (e dq − 1) = kp kq φ with φ = (p−1)(q−1). Modulo e that is kp kq φ = 1, so the number k below e with
    // e d = 1 + k φ is −kp kq.
    let k = e - (u128::from(kp) * u128::from(kq) % u128::from(e)) as u64;
    let totient = p1.times(&q1, c).ok_or(Refused::NoMemory)?;
    let d = totient.one_more_divided(k, e).ok_or(Refused::NoMemory)?;

    let bytes = |number: &Number| number.to_bytes().ok_or(Refused::NoMemory);
    Ok(PrivateParts {
        n: bytes(&n)?[..].into(),
        e: without_zeros(&e.to_be_bytes()).into(),
        d: bytes(&d)?,
        p: bytes(&p)?,
        q: bytes(&q)?,
        dp: bytes(&dp)?,
        dq: bytes(&dq)?,
        qinv: bytes(&qinv)?,
    })
}

/// What is seen without arithmetic. Sizes are no secret.
fn check_form(p: &[u8], q: &[u8], smaller: [&[u8]; 3]) -> Result<(), Refused> {
    let half = bits(p);
    if bits(q) != half {
        Err(Refused::Fault(KeyFault::PrimeSize))
    } else if field_bits(2 * half).is_none() {
        Err(Refused::Size(2 * half))
    } else if !is_odd(p) || !is_odd(q) {
        Err(Refused::Fault(KeyFault::Composite))
    } else if verify_slices_are_equal(p, q).is_ok() {
        Err(Refused::Fault(KeyFault::EqualPrimes))
    } else if smaller.iter().any(|number| !(1..=half).contains(&bits(number))) {
        Err(Refused::Fault(KeyFault::Crt))
    } else {
        Ok(())
    }
}

/// e of dp, and k of e · dp = 1 + k (p−1).
fn public_exponent(dp: &Number, p1: &Number, context: &mut Context) -> Result<(u64, u64), Refused> {
    for e in USUAL_EXPONENTS {
        if let Some(k) = quotient(e, dp, p1, context)? {
            return Ok((e, k));
        }
    }
    let crt = Refused::Fault(KeyFault::Crt);
    if dp.cmp(p1) != Ordering::Less {
        return Err(crt);
    }
    let e = dp.inverse(p1, context).ok_or(crt)?;
    match e.bits() {
        0 | 1 => Err(Refused::Fault(KeyFault::TinyExponent)),
        2..=MAX_EXPONENT_BITS => {
            let e = e.to_u64().ok_or(Refused::NoMemory)?;
            let k = quotient(e, dp, p1, context)?.ok_or(Refused::Fault(KeyFault::Crt))?;
            Ok((e, k))
        }
        _ => Err(Refused::Fault(KeyFault::LargeExponent)),
    }
}

/// k with e · d = 1 + k · m, if there is one below e: d is then below m.
fn quotient(e: u64, d: &Number, m: &Number, context: &mut Context) -> Result<Option<u64>, Refused> {
    let k = d.quotient_of_one(e, m, context).ok_or(Refused::NoMemory)?;
    Ok(k.filter(|k| *k < e))
}

fn number(bytes: &[u8]) -> Result<Number, Refused> {
    Number::new(bytes).ok_or(Refused::NoMemory)
}

/// A number's bytes from the first that is not zero.
pub(super) fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    &bytes[zeros..]
}

#[cfg(test)]
mod tests;
