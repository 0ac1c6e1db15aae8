//! Dates of HTTP (RFC 9110, 5.6.7).

const DAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
/// Days of 400 years, after which the calendar begins anew.
const DAYS_OF_ERA: u64 = 146_097;
/// Days from the first of March of year 0 to 1970.
const EPOCH: u64 = 719_468;

/// A time as `Date` has it, such as `Sun, 06 Nov 1994 08:49:37 GMT`, given in seconds since 1970. To be made once a second.
/// Of years beyond 9999 only the last four digits are there.
#[must_use]
pub fn http_date(unix_seconds: u64) -> [u8; 29] {
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut date = *b"Day, 00 Mon 0000 00:00:00 GMT";
    date[..3].copy_from_slice(DAYS[((days + 4) % 7) as usize]);
    date[8..11].copy_from_slice(MONTHS[month]);
    let mut put = |at: usize, number: u64| {
        date[at] = b'0' + (number / 10 % 10) as u8;
        date[at + 1] = b'0' + (number % 10) as u8;
    };
    put(5, day);
    put(12, year / 100);
    put(14, year % 100);
    put(17, seconds / 3600);
    put(20, seconds / 60 % 60);
    put(23, seconds % 60);
    date
}

/// Year, month from 0 and day from 1 of a day since 1970. Years are counted from March here, so that the day of leap years
/// is the last one.
fn civil(days_since_1970: u64) -> (u64, usize, u64) {
    let days = days_since_1970 + EPOCH;
    let (era, day) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    // All years have 365 days if those of leap years, and the last one of the era, are left out.
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // From March on, months have 153 days in five.
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let is_next_year = month >= 10;
    (era * 400 + year + u64::from(is_next_year), ((month + 2) % 12) as usize, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seconds: u64) -> String {
        String::from_utf8(http_date(seconds).to_vec()).expect("ASCII")
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
        ] {
            assert_eq!(text(seconds), date);
        }
    }

    #[test]
    fn each_day_of_four_centuries_follows_the_one_before() {
        let is_leap =
            |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let (mut year, mut month, mut day) = (1970, 0, 1);
        for days in 0..DAYS_OF_ERA {
            assert_eq!(civil(days), (year, month, day));
            let last = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month];
            (month, day) = if day == last { (month + 1, 1) } else { (month, day + 1) };
            (year, month) = if month == 12 { (year + 1, 0) } else { (year, month) };
        }
    }
}
