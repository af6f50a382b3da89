//! Requests: what they do, at the edges, and many at a time.

use crate::client::{Ask, Client, errno};
use crate::load::{Load, transfer};
use crate::model::Model;
use crate::rig::{Attached, Rig, writable};
use crate::{Stop, Verdict};
use std::sync::atomic::AtomicBool;
use steadfast_abi::{block_feature, block_flag, block_op, extent};

/// Bytes that the random cases work on.
const WINDOW: u64 = 4 << 20;

fn block(client: &Client) -> u64 {
    u64::from(client.info().block_size)
}

fn offered(client: &Client, feature: u64, name: &str) -> Result<(), Stop> {
    if client.has(feature) { Ok(()) } else { Err(Stop::Skip(format!("the device does not offer {name}"))) }
}

fn end(client: Client, port: &Attached<'_>) -> Verdict {
    if client.strays() > 0 {
        return Err(Stop::Fail(format!("{} requests were answered twice", client.strays())));
    }
    drop(client);
    port.check_clean()?;
    Ok(String::new())
}

pub(crate) fn attach(rig: &Rig) -> Verdict {
    let port = rig.attach()?;
    let client = port.open()?;
    let info = client.info();
    let extra = info.features & !rig.manifest().features;
    if extra != 0 {
        let names: Vec<&str> = (0..block_feature::NAMES.len())
            .filter(|bit| extra & (1 << bit) != 0)
            .map(|bit| block_feature::NAMES[bit])
            .collect();
        return Err(Stop::Fail(format!("the device offers {}, the manifest does not", names.join(", "))));
    }
    if !info.block_size.is_power_of_two() || info.size == 0 || info.size % block(&client) != 0 {
        return Err(Stop::Fail(format!("size {} in blocks of {}", info.size, info.block_size)));
    }
    end(client, &port)
}

pub(crate) fn read_write(rig: &Rig) -> Verdict {
    let port = rig.attach()?;
    let client = port.open()?;
    let window = WINDOW.min(client.info().size);
    let first = client.info().size - window;
    let mut rng = rig.rng(1);
    let mut model = Model::new(first, window as usize);
    let (unit, most) = (block(&client), transfer(&client) / block(&client));
    for _ in 0..500 {
        let small = if rng.percent(70) { 16 } else { most };
        let count = (1 + rng.below(small.min(most))).min(window / unit);
        let offset = first + rng.below(window / unit - count + 1) * unit;
        if client.writable() && rng.percent(50) {
            let data = rng.bytes((count * unit) as usize);
            client.must(Ask::write(offset, data.clone()))?;
            model.write(offset, &data);
        } else {
            let reply = client.must(Ask::read(offset, count * unit))?;
            if rig.keeps_contents() {
                model.check(offset, &reply.data)?;
            }
        }
    }
    end(client, &port)
}

pub(crate) fn edges(rig: &Rig) -> Verdict {
    let port = rig.attach()?;
    let client = port.open()?;
    let (size, unit, large) = (client.info().size, block(&client), transfer(&client));
    let mut rng = rig.rng(2);
    let large = large.min(size / unit * unit);
    for (offset, length) in [(0, unit), (size - unit, unit), (0, large), (size - large, large)] {
        if client.writable() {
            let data = rng.bytes(length as usize);
            client.must(Ask::write(offset, data.clone()))?;
            let reply = client.must(Ask::read(offset, length))?;
            if rig.keeps_contents() && reply.data != data {
                let text = format!("{length} bytes written at {offset} read differently");
                return Err(Stop::Fail(text));
            }
        } else {
            client.must(Ask::read(offset, length))?;
        }
    }
    end(client, &port)
}

pub(crate) fn bounds(rig: &Rig) -> Verdict {
    let port = rig.attach()?;
    let client = port.open()?;
    let (size, unit) = (client.info().size, block(&client));
    let top = u64::MAX / unit * unit;
    let before = client.must(Ask::read(size - unit, unit))?.data;
    for (offset, length) in [(size, unit), (size - unit, 2 * unit), (top - unit, unit), (top, 2 * unit)] {
        let mut asks = vec![Ask::read(offset, length), Ask::write(offset, vec![0xee; length as usize])];
        if client.has(block_feature::WRITE_ZEROES) {
            asks.push(Ask::new(block_op::WRITE_ZEROES, offset, length));
        }
        for ask in asks {
            let op = crate::client::op_name(ask.op);
            if client.call(ask)?.result >= 0 {
                let text = format!("{op} of {length} bytes at {offset} succeeded, the device has {size}");
                return Err(Stop::Fail(text));
            }
        }
    }
    let after = client.must(Ask::read(size - unit, unit))?.data;
    if rig.keeps_contents() && before != after {
        return Err(Stop::Fail("the last block was changed by requests that failed".into()));
    }
    end(client, &port)
}

pub(crate) fn unknown(rig: &Rig) -> Verdict {
    let port = rig.attach()?;
    let client = port.open()?;
    let reply = client.call(Ask::new(999, 0, block(&client)))?;
    if reply.result >= 0 {
        return Err(Stop::Fail("request code 999 succeeded".into()));
    }
    for op in [block_op::TRIM, block_op::WRITE_ZEROES, block_op::CACHE, block_op::STATUS, block_op::FLUSH] {
        client.call(Ask::new(op, 0, if op == block_op::FLUSH { 0 } else { block(&client) }))?;
    }
    end(client, &port)
}

pub(crate) fn flush(rig: &Rig) -> Verdict {
    let port = rig.attach()?;
    let client = port.open()?;
    writable(&client)?;
    offered(&client, block_feature::FLUSH, "flush")?;
    let unit = block(&client);
    client.must(Ask::new(block_op::FLUSH, 0, 0))?;
    client.must(Ask::write(0, vec![1; unit as usize]))?;
    client.must(Ask::new(block_op::FLUSH, 0, 0))?;
    if client.has(block_feature::FUA) {
        client.must(Ask::write(0, vec![2; unit as usize]).flags(block_flag::FUA))?;
        if client.has(block_feature::WRITE_ZEROES) {
            client.must(Ask::new(block_op::WRITE_ZEROES, 0, unit).flags(block_flag::FUA))?;
        }
    }
    end(client, &port)
}

/// Fills `len` bytes at `offset` with `byte`.
pub(crate) fn fill(client: &Client, offset: u64, len: u64, byte: u8) -> Result<(), String> {
    let step = transfer(client);
    let mut at = 0;
    while at < len {
        let length = step.min(len - at);
        client.must(Ask::write(offset + at, vec![byte; length as usize]))?;
        at += length;
    }
    Ok(())
}

/// Checks that `len` bytes at `offset` are all `byte`.
pub(crate) fn all(client: &Client, offset: u64, len: u64, byte: u8, what: &str) -> Result<(), String> {
    let step = transfer(client);
    let mut at = 0;
    while at < len {
        let length = step.min(len - at);
        let data = client.must(Ask::read(offset + at, length))?.data;
        if let Some(i) = data.iter().position(|b| *b != byte) {
            let place = offset + at + i as u64;
            return Err(format!("{what}: byte {place} reads {:#04x}, not {byte:#04x}", data[i]));
        }
        at += length;
    }
    Ok(())
}

pub(crate) fn write_zeroes(rig: &Rig) -> Verdict {
    let port = rig.attach()?;
    let client = port.open()?;
    writable(&client)?;
    offered(&client, block_feature::WRITE_ZEROES, "write-zeroes")?;
    let unit = block(&client);
    let window = WINDOW.min(client.info().size) / unit * unit;
    let inner = window - 2 * unit;
    if inner == 0 {
        return Err(Stop::Skip("the device has fewer than three blocks".into()));
    }
    let ways = [0, block_flag::NO_HOLE, block_flag::FAST_ONLY];
    for (flags, length) in ways.into_iter().flat_map(|f| [(f, inner), (f, unit)]) {
        if flags == block_flag::FAST_ONLY && !client.has(block_feature::FAST_ZERO) {
            continue;
        }
        fill(&client, 0, window, 0xaa)?;
        let reply = client.call(Ask::new(block_op::WRITE_ZEROES, unit, length).flags(flags))?;
        let refused = flags == block_flag::FAST_ONLY && errno(reply.result) == errno(-EOPNOTSUPP);
        if reply.result < 0 && !refused {
            let text = format!("write-zeroes of {length} bytes, flags {flags:#x}: {}", errno(reply.result));
            return Err(Stop::Fail(text));
        }
        if rig.keeps_contents() {
            let inside = if refused { 0xaa } else { 0 };
            all(&client, unit, length, inside, "write-zeroes, within")?;
            all(&client, 0, unit, 0xaa, "write-zeroes, the block before")?;
            all(&client, unit + length, window - unit - length, 0xaa, "write-zeroes, behind")?;
        }
    }
    end(client, &port)
}

const EOPNOTSUPP: i32 = 95;

pub(crate) fn trim(rig: &Rig) -> Verdict {
    let port = rig.attach()?;
    let client = port.open()?;
    writable(&client)?;
    offered(&client, block_feature::TRIM, "trim")?;
    let unit = block(&client);
    let window = WINDOW.min(client.info().size) / unit * unit;
    if window < 3 * unit {
        return Err(Stop::Skip("the device has fewer than three blocks".into()));
    }
    fill(&client, 0, window, 0xbb)?;
    client.must(Ask::new(block_op::TRIM, unit, window - 2 * unit))?;
    if rig.keeps_contents() {
        all(&client, 0, unit, 0xbb, "trim, the block before")?;
        all(&client, window - unit, unit, 0xbb, "trim, the block behind")?;
        fill(&client, unit, unit, 0xcc)?;
        all(&client, unit, unit, 0xcc, "written after a trim")?;
    }
    end(client, &port)
}

pub(crate) fn status(rig: &Rig) -> Verdict {
    let port = rig.attach()?;
    let client = port.open()?;
    offered(&client, block_feature::STATUS, "status")?;
    let unit = block(&client);
    let window = WINDOW.min(client.info().size) / unit * unit;
    if client.writable() {
        fill(&client, 0, window / 4 / unit * unit, 0xdd)?;
        if client.has(block_feature::WRITE_ZEROES) {
            client.must(Ask::new(block_op::WRITE_ZEROES, 0, unit))?;
        }
    }
    let mut at = 0;
    while at < window {
        let reply = client.must(Ask::new(block_op::STATUS, at, window - at))?;
        if reply.result == 0 {
            return Err(Stop::Fail(format!("status at {at} knows nothing; at least 1 extent is asked")));
        }
        let begin = at;
        for raw in reply.data.chunks_exact(16) {
            let (length, flags) = raw.split_at(8);
            let number = |b: &[u8]| b.iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b));
            let (length, flags) = (number(length), number(flags));
            if length == 0 || length % unit != 0 {
                return Err(Stop::Fail(format!("status at {begin}: an extent of {length} bytes")));
            }
            if flags & extent::ZERO != 0 && rig.keeps_contents() {
                all(&client, at, length.min(window.saturating_sub(at)), 0, "status calls it zero")?;
            }
            at = at.saturating_add(length);
        }
    }
    end(client, &port)
}

pub(crate) fn depth(rig: &Rig) -> Verdict {
    let port = rig.attach()?;
    let client = port.open()?;
    let end_of = client.info().size;
    // More than the 512 slots that a queue of the suite's engine has, where the device is large enough.
    let unit = u64::from(client.info().preferred_block_size);
    let depth = (end_of / unit).clamp(1, 700);
    let load = Load::new(&client, (0, end_of), depth, rig.rng(3), rig.keeps_contents());
    load.run(&AtomicBool::new(true), 5 * depth).verdict()?;
    end(client, &port)
}
