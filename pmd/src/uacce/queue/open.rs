//! What must hold of a device before its queues are used.

use crate::uacce::abi::QM_SET_QP_INFO;
use crate::uacce::abi::qm::{self, Layout, QpInfo, Version};
use crate::uacce::discover::UacceInfo;
use crate::uacce::file::QueueFile;

/// Where the doorbell of a served file would be in the pages of another region.
const SERVED_MMIO: usize = 4096;

/// Whether the device's queues can be used by what is known here.
pub(super) fn check(info: &UacceInfo) -> Result<Version, String> {
    let Some(version) = info.version else {
        return Err(format!(
            "its queues are {:?}, of which nothing is known here. Remedy: a device with queues of hisi_qm_v1 or later",
            info.api
        ));
    };
    let at = version.doorbell_at();
    if at + 8 > info.mmio_bytes || !info.mmio_bytes.is_multiple_of(8) {
        return Err(format!(
            "its registers of {} bytes have no room for a doorbell at {at:#x}. Remedy: mend region_mmio_size",
            info.mmio_bytes
        ));
    }
    if info.extensions.is_some() && at >= SERVED_MMIO {
        return Err(format!(
            "{} has its doorbell where the entries of a served file are. Remedy: a device of hisi_qm_v1",
            info.api
        ));
    }
    if !info.dus_bytes.is_multiple_of(8) {
        return Err(format!(
            "{} bytes of a queue's memory are no words. Remedy: mend region_dus_size",
            info.dus_bytes
        ));
    }
    Ok(version)
}

/// Where things are, as the driver says, or as drivers have it that do not say.
pub(super) fn layout(file: &dyn QueueFile, entry_bytes: usize, dus_bytes: usize) -> Result<Layout, String> {
    let mut info = QpInfo::default().bytes();
    let (told, sq_depth, cq_depth) = match file.call(QM_SET_QP_INFO, &mut info) {
        Ok(_) => {
            let QpInfo { entry_bytes, sq_depth, cq_depth, .. } = QpInfo::of(info);
            (entry_bytes as usize, sq_depth, cq_depth)
        }
        Err(_) => (entry_bytes, qm::DEPTH, qm::DEPTH),
    };
    if told != entry_bytes {
        return Err(format!(
            "its entries have {told} bytes, not {entry_bytes}. Remedy: a device of the kind that was asked for"
        ));
    }
    Layout::new(entry_bytes, sq_depth, cq_depth, dus_bytes).ok_or_else(|| {
        format!("{dus_bytes} bytes have no room for {sq_depth} entries and {cq_depth} completions. Remedy: mend region_dus_size")
    })
}
