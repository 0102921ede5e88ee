// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @title Shares of one model
/// @notice Enters: what the distributor mints, and fees that anyone pays for the model, in the chain's coin. Leaves:
/// to each holder its part of the fees paid while it held. Refuses: minting by anyone but the distributor, and fees
/// while there are no shares, since nobody could ever claim them.
/// @dev No account has a right that another has not, but for the distributor's to mint. The fees of an account are
/// settled before its balance changes, so a transfer moves shares and never fees.
contract ModelShare is ERC20, ERC20Permit {
    using SafeCast for uint256;

    /// @notice Fees are reckoned in 2^-128 of the coin's smallest unit, so no fraction is lost in a division.
    /// @dev With all fees ever paid below 2^128 no sum or product here exceeds 2^256: a balance times what a share has
    /// earned is part of the fees paid while the balance was part of the supply.
    uint256 private constant SCALE_BITS = 128;

    /// @notice The only account that mints.
    address public immutable distributor;

    /// @notice All fees ever paid, in the coin's smallest unit.
    uint128 public deposited;

    /// @dev Fees for one share since the first, scaled.
    uint256 private _perShare;

    /// @dev What the last division left over, scaled: shared out with the next fees.
    uint256 private _carried;

    /// @dev What was settled for an account and not claimed, scaled, and the fees for one share until when.
    struct Account {
        uint256 owed;
        uint256 settledAt;
    }

    mapping(address account => Account) private _accounts;

    /// @notice Somebody paid for the model.
    event FeesDeposited(address indexed from, uint256 amount);

    /// @notice An account got its fees.
    event FeesClaimed(address indexed account, uint256 amount);

    /// @notice Only the distributor mints.
    error OnlyDistributor();

    /// @notice There are no shares yet, so nobody to pay the fees to: keep them until the first claim.
    error NoShares();

    /// @notice Nothing was sent, or nothing can be claimed.
    error NoFees();

    /// @notice Shares of this contract or of the distributor would earn fees that nobody could claim.
    error SharesForNobody();

    /// @param name_ The token's name.
    /// @param symbol_ Its symbol.
    constructor(string memory name_, string memory symbol_) ERC20(name_, symbol_) ERC20Permit(name_) {
        distributor = msg.sender;
    }

    /// @notice A share is a million credits, what a round shares out by default.
    function decimals() public pure override returns (uint8) {
        return 6;
    }

    /// @notice Makes new shares.
    function mint(address account, uint256 amount) external {
        if (msg.sender != distributor) revert OnlyDistributor();
        _mint(account, amount);
    }

    /// @notice Pays for the model: what is sent is split over all shares as they are now.
    function depositFees() external payable {
        if (msg.value == 0) revert NoFees();
        uint256 supply = totalSupply();
        if (supply == 0) revert NoShares();
        deposited = (uint256(deposited) + msg.value).toUint128();
        uint256 scaled = (msg.value << SCALE_BITS) + _carried;
        _perShare += scaled / supply;
        _carried = scaled % supply;
        emit FeesDeposited(msg.sender, msg.value);
    }

    /// @notice The fees that an account can claim now.
    function feesOf(address account) external view returns (uint256) {
        return _owed(account) >> SCALE_BITS;
    }

    /// @notice Pays an account its fees. Anyone may call this; the fees go to the account and to nobody else.
    function claimFees(address payable account) external returns (uint256 amount) {
        _settle(account);
        uint256 owed = _accounts[account].owed;
        amount = owed >> SCALE_BITS;
        if (amount == 0) revert NoFees();
        // Before the payment, so that an account that calls back finds nothing more to claim.
        _accounts[account].owed = owed - (amount << SCALE_BITS);
        emit FeesClaimed(account, amount);
        Address.sendValue(account, amount);
    }

    /// @dev Every change of balances, minting too, passes here.
    function _update(address from, address to, uint256 value) internal override {
        if (to == address(this) || to == distributor) revert SharesForNobody();
        // The zero address, which mints come from, never holds shares.
        if (from != address(0)) _settle(from);
        _settle(to);
        super._update(from, to, value);
    }

    function _settle(address account) private {
        _accounts[account] = Account({owed: _owed(account), settledAt: _perShare});
    }

    function _owed(address account) private view returns (uint256) {
        Account storage known = _accounts[account];
        return known.owed + balanceOf(account) * (_perShare - known.settledAt);
    }
}
