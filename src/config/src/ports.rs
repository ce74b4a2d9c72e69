//! `PORT` of every process, by foreman's rule: a base, plus 100 for each further entry, plus 1 for each further
//! instance. `web` always gets the base itself, wherever it stands. No two processes get the same port.

/// The port of foreman and of everyone who follows it.
pub(crate) const DEFAULT_BASE: u16 = 5000;

/// Ports from here on are handed out when the base lies so high that they run out.
const LOWEST: u32 = 1024;

/// What a process asks for.
pub(crate) struct Request<'a> {
    pub name: &'a str,
    pub count: u32,
    /// The PORT of its own environment.
    pub own: Option<u16>,
}

/// Hands out a port to each process, in their order. `None`: there are not enough of them.
pub(crate) fn assign(base: u16, requests: &[Request<'_>]) -> Option<Vec<u16>> {
    let mut taken: Vec<(u32, u32)> =
        requests.iter().filter_map(|r| r.own.map(|port| (u32::from(port), u32::from(port) + r.count.max(1)))).collect();
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|i| requests.get(*i).is_none_or(|r| r.name != "web"));
    let mut ports = vec![0; requests.len()];
    let mut next = u32::from(base);
    for i in order {
        let (Some(request), Some(port)) = (requests.get(i), ports.get_mut(i)) else { continue };
        // More than 100 instances need more than one block of 100.
        let width = request.count.max(1).div_ceil(100) * 100;
        if let Some(own) = request.own {
            *port = own;
        } else {
            let start = free(next, request.count.max(1), &taken)?;
            taken.push((start, start + request.count.max(1)));
            *port = u16::try_from(start).ok()?;
            next = start;
        }
        next = next.saturating_add(width);
    }
    Some(ports)
}

/// The first start in steps of 100 from which on so many ports are free, beginning again at the low ports once.
fn free(from: u32, count: u32, taken: &[(u32, u32)]) -> Option<u32> {
    let fits = |start: &u32| start + count <= 65_536 && taken.iter().all(|(a, b)| *start >= *b || start + count <= *a);
    (from..65_536).step_by(100).find(fits).or_else(|| (LOWEST..65_536).step_by(100).find(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: u16, requests: &[(&str, u32, Option<u16>)], expected: &[u16]) {
        let requests: Vec<Request<'_>> =
            requests.iter().map(|(name, count, own)| Request { name, count: *count, own: *own }).collect();
        assert_eq!(assign(base, &requests).unwrap(), expected);
    }

    #[test]
    fn web_gets_the_base_and_the_others_a_hundred_more_each() {
        check(5000, &[("a", 1, None), ("web", 1, None), ("b", 1, None)], &[5100, 5000, 5200]);
    }

    #[test]
    fn ports_never_overlap_whatever_the_counts_and_own_ports_are() {
        check(5000, &[("web", 150, None), ("b", 1, None)], &[5000, 5200]);
        check(5000, &[("a", 1, None), ("b", 1, Some(5000)), ("c", 1, None)], &[5100, 5000, 5300]);
        check(65500, &[("a", 1, None), ("b", 1, None)], &[65500, 1024]);
    }

    #[test]
    fn five_hundred_processes_get_five_hundred_blocks() {
        let requests: Vec<Request<'_>> = (0..500).map(|_| Request { name: "x", count: 10, own: None }).collect();
        let mut ports = assign(60000, &requests).unwrap();
        ports.sort_unstable();
        assert!(ports.windows(2).all(|w| w[1] - w[0] >= 10));
    }
}
