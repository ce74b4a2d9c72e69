//! `PORT` of every process, by foreman's rule: a base, plus 100 for each further entry, plus 1 for each further
//! instance. `web` always gets the base itself, wherever it stands. No two processes get the same port, and none gets one
//! on which another one listens.

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
    /// The ports of its listeners, as far as they are known.
    pub listens: Vec<u16>,
}

/// Hands out a port to each process, in their order. `None`: there are not enough of them.
pub(crate) fn assign(base: u16, requests: &[Request<'_>]) -> Option<Vec<u16>> {
    let mut taken: Vec<Taken> = Vec::new();
    for (by, request) in requests.iter().enumerate() {
        // A PORT that a listener says instead takes nothing.
        let own = request.own.filter(|_| request.listens.is_empty()).map(|port| (port, request.count.max(1)));
        let listens = request.listens.iter().map(|port| (*port, 1));
        taken.extend(own.into_iter().chain(listens).map(|(port, count)| Taken {
            start: u32::from(port),
            end: u32::from(port) + count,
            by,
        }));
    }
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
            let start = free(next, request.count.max(1), i, &taken)?;
            taken.push(Taken { start, end: start + request.count.max(1), by: i });
            *port = u16::try_from(start).ok()?;
            next = start;
        }
        next = next.saturating_add(width);
    }
    Some(ports)
}

/// Ports that somebody has, up to `end`.
struct Taken {
    start: u32,
    end: u32,
    /// The process.
    by: usize,
}

/// The first start in steps of 100 from which on so many ports are free or its own, beginning again at the low ports once.
fn free(from: u32, count: u32, by: usize, taken: &[Taken]) -> Option<u32> {
    let fits = |start: &u32| {
        start + count <= 65_536 && taken.iter().all(|t| t.by == by || *start >= t.end || start + count <= t.start)
    };
    (from..65_536).step_by(100).find(fits).or_else(|| (LOWEST..65_536).step_by(100).find(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: u16, requests: &[(&str, u32, Option<u16>)], expected: &[u16]) {
        let requests: Vec<Request<'_>> = requests
            .iter()
            .map(|(name, count, own)| Request { name, count: *count, own: *own, listens: Vec::new() })
            .collect();
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
    fn a_port_on_which_somebody_listens_is_told_to_nobody_else() {
        let request = |name, listens: &[u16]| Request { name, count: 2, own: None, listens: listens.to_vec() };
        let requests = [request("web", &[5000]), request("a", &[]), request("b", &[5301]), request("c", &[])];
        assert_eq!(assign(5000, &requests).unwrap(), [5000, 5100, 5200, 5400]);
        let replaced = Request { own: Some(5100), ..request("b", &[8080]) };
        assert_eq!(assign(5000, &[request("web", &[]), replaced, request("a", &[])]).unwrap(), [5000, 5100, 5200]);
    }

    #[test]
    fn five_hundred_processes_get_five_hundred_blocks() {
        let requests: Vec<Request<'_>> =
            (0..500).map(|_| Request { name: "x", count: 10, own: None, listens: Vec::new() }).collect();
        let mut ports = assign(60000, &requests).unwrap();
        ports.sort_unstable();
        assert!(ports.windows(2).all(|w| w[1] - w[0] >= 10));
    }
}
