//! PID 1 or subreaper: forks, reaps, signals, holds descriptors, and knows no policy
