// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

interface Fees {
    function claimFees(address payable account) external returns (uint256);
}

/// @title A holder that, when it is paid fees, at once claims them again
contract Greedy {
    /// @notice How often it was refused.
    uint256 public refused;

    receive() external payable {
        try Fees(msg.sender).claimFees(payable(address(this))) {} catch {
            refused += 1;
        }
    }
}
