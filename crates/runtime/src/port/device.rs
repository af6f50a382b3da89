//! The devices that a port serves: what its driver may announce, and what their clients rely on.

use super::Port;
use crate::info::DeviceInfo;
use steadfast_abi::block_feature;
use steadfast_shell::sync::lock;

/// A device that a port serves.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) number: u32,
    pub(crate) size: u64,
    pub(crate) block_size: u32,
    pub(crate) preferred_block_size: u32,
    pub(crate) max_transfer: u32,
    pub(crate) features: u64,
    pub(crate) wwid: String,
}

impl Device {
    /// Leaves what this device and `other` have in common: less room, fewer features, larger blocks.
    pub(crate) fn keep_common(&mut self, other: &Device) {
        let read_only = (self.features | other.features) & block_feature::READ_ONLY;
        self.features = self.features & other.features | read_only;
        self.size = self.size.min(other.size);
        self.block_size = self.block_size.max(other.block_size);
        self.preferred_block_size = self.preferred_block_size.max(other.preferred_block_size);
    }
}

/// What the clients of one device have been offered.
#[derive(Clone, Debug)]
pub(crate) struct Offers {
    pub(crate) clients: u32,
    features: [u32; 64],
}

impl Default for Offers {
    fn default() -> Offers {
        Offers { clients: 0, features: [0; 64] }
    }
}

impl Offers {
    pub(crate) fn add(&mut self, features: u64) {
        self.clients += 1;
        for (bit, n) in self.features.iter_mut().enumerate() {
            *n += (features >> bit & 1) as u32;
        }
    }

    pub(crate) fn remove(&mut self, features: u64) {
        self.clients = self.clients.saturating_sub(1);
        for (bit, n) in self.features.iter_mut().enumerate() {
            *n = n.saturating_sub((features >> bit & 1) as u32);
        }
    }

    /// Features that at least one client relies on.
    pub(crate) fn relied_on(&self) -> u64 {
        self.features.iter().enumerate().fold(0, |all, (bit, n)| all | u64::from(*n > 0) << bit)
    }
}

/// Features whose absence breaks a promise to a client. The others describe, or switch on something
/// that a client must be ready to do without.
pub(crate) const PROMISES: u64 = block_feature::FLUSH
    | block_feature::FUA
    | block_feature::TRIM
    | block_feature::WRITE_ZEROES
    | block_feature::FAST_ZERO
    | block_feature::CACHE
    | block_feature::STATUS
    | block_feature::MULTI_CONN;

impl Port {
    /// Checks a device that a driver announces against sense and against what clients rely on.
    pub(crate) fn check_announcement(&self, device: &Device) -> Result<(), (i32, String)> {
        let d = device;
        let invalid = |what: String| Err((libc::EINVAL, format!("device {}: {what}", d.number)));
        if !d.block_size.is_power_of_two() || d.block_size > 65536 {
            return invalid(format!("block size {} is not a power of two from 1 to 65536", d.block_size));
        }
        if !d.preferred_block_size.is_power_of_two() || d.preferred_block_size < d.block_size {
            let (p, b) = (d.preferred_block_size, d.block_size);
            return invalid(format!(
                "preferred block size {p} is not a power of two from the block size {b} up"
            ));
        }
        if d.size == 0 || !d.size.is_multiple_of(u64::from(d.block_size)) || d.size > i64::MAX as u64 {
            let (s, b) = (d.size, d.block_size);
            return invalid(format!("size {s} is not a positive multiple of the block size {b}"));
        }
        if d.max_transfer != 0 && d.max_transfer < d.block_size {
            return invalid(format!(
                "largest request {} is below the block size {}",
                d.max_transfer, d.block_size
            ));
        }
        self.check_kept(device)
    }

    fn check_kept(&self, d: &Device) -> Result<(), (i32, String)> {
        let inner = lock(&self.inner);
        let Some(offers) = inner.offers.get(&d.number).filter(|o| o.clients > 0) else { return Ok(()) };
        let Some(now) = inner.devices.iter().find(|known| known.number == d.number) else { return Ok(()) };
        let busy = |what: String| Err((libc::EBUSY, format!("device {}: {what}", d.number)));
        if d.size < now.size {
            return busy(format!("size {} is smaller than the {} that clients use", d.size, now.size));
        }
        if d.block_size > now.block_size {
            let (new, old) = (d.block_size, now.block_size);
            return busy(format!("block size {new} is larger than the {old} that clients use"));
        }
        let lost = offers.relied_on() & PROMISES & !d.features;
        if lost != 0 {
            return busy(format!("features that clients rely on are missing: {}", feature_names(lost)));
        }
        if !now.wwid.is_empty() && d.wwid != now.wwid {
            let (new, old) = (&d.wwid, &now.wwid);
            return busy(format!("it is another device ({new:?}) than the one that clients use ({old:?})"));
        }
        if d.features & block_feature::READ_ONLY & !now.features != 0 {
            return busy("it would become read-only under its clients".to_owned());
        }
        Ok(())
    }

    /// A device as the control plane shows it.
    pub(crate) fn device_info(&self, device: &Device) -> DeviceInfo {
        DeviceInfo {
            name: if device.number == 0 {
                self.name.clone()
            } else {
                format!("{}.{}", self.name, device.number)
            },
            port: self.name.clone(),
            number: device.number,
            size: device.size,
            block_size: device.block_size,
            preferred_block_size: device.preferred_block_size,
            max_transfer: device.max_transfer,
            features: device.features,
            feature_names: feature_list(device.features),
            wwid: device.wwid.clone(),
            generation: self.generation(),
        }
    }
}

/// Names of feature bits, in the order of the bits.
fn feature_list(features: u64) -> Vec<String> {
    let named = |bit: u32| {
        let name = block_feature::NAMES.get(bit as usize);
        name.map_or_else(|| format!("bit-{bit}"), |n| (*n).to_owned())
    };
    (0..64).filter(|bit| features >> bit & 1 == 1).map(named).collect()
}

fn feature_names(features: u64) -> String {
    feature_list(features).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_relied_on_while_a_client_has_them() {
        let mut offers = Offers::default();
        offers.add(block_feature::TRIM | block_feature::FLUSH);
        offers.add(block_feature::FLUSH);
        offers.remove(block_feature::TRIM | block_feature::FLUSH);
        assert_eq!((offers.clients, offers.relied_on()), (1, block_feature::FLUSH));
    }

    #[test]
    fn what_two_devices_have_in_common_is_the_lesser_of_both() {
        let device = |size, block_size, features| Device {
            number: 0,
            size,
            block_size,
            preferred_block_size: block_size,
            max_transfer: 0,
            features,
            wwid: String::new(),
        };
        let mut old = device(8192, 1, block_feature::TRIM | block_feature::FLUSH);
        old.keep_common(&device(4096, 512, block_feature::FLUSH | block_feature::READ_ONLY));
        assert_eq!((old.size, old.block_size), (4096, 512));
        assert_eq!(old.features, block_feature::FLUSH | block_feature::READ_ONLY);
    }
}
